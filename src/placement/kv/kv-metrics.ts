// What the key-value store adds to a scrape.

import type { PrometheusText } from "../../services/prometheus-text.js";
import type { KvStateMachine } from "./kv-state-machine.js";

export function kvMetrics(machine: KvStateMachine): (text: PrometheusText) => void {
  return (text) => {
    const { history } = machine;
    text.gauge("mvcc_revision", "The store's revision.", machine.revision);
    text.gauge("mvcc_keys_total", "Keys in the store.", machine.recordCount);
    text.gauge("mvcc_db_total_size_in_bytes", "The file of the store.", machine.fileBytes);
    text.gauge(
      "mvcc_durable_lag_entries",
      "Applied, not yet in the file.",
      machine.appliedIndex - machine.durableIndex,
    );
    text.gauge("mvcc_sessions", "Clients whose writes are remembered.", machine.sessionCount);
    text.gauge(
      "mvcc_history_first_revision",
      "The oldest change that a watch can begin with.",
      history.floor + 1n,
    );
    text.gauge("mvcc_history_bytes", "Memory of the recent changes.", history.bytes);
    text.gauge("mvcc_watchers_total", "Watches that wait for changes here.", history.listeners);
  };
}
