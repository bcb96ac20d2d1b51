// Reads what a node counts about its disk and its event loop from `/metrics`, and says when either is too slow.

import { describeError } from "../../transport/transport-errors.js";
import { type Finding, ok, problem, warning } from "./finding.js";
import { getPage, type PageOptions } from "./get-page.js";

const TIMEOUT_MS = 2_000;
const MAX_BYTES = 8 * 1024 * 1024;
/** As docs/metrics.md advises. */
const SLOW_FSYNC_SECONDS = 0.01;
/** Elections are decided in tenths of seconds. */
const SLOW_LOOP_SECONDS = 0.1;
const PERCENTILE = 0.99;
const HINT = "name the address of its --http, and see whether it can be reached from here";
const TOKEN_HINT = "ask with a token that has the role metrics or admin (--token-file)";

/** Never throws. */
export async function examineMetrics(
  address: string,
  access: Pick<PageOptions, "tls" | "authorization">,
): Promise<Finding[]> {
  try {
    const limits = { timeoutMs: TIMEOUT_MS, maxBytes: MAX_BYTES };
    const { status, text } = await getPage(address, "/metrics", { ...access, ...limits });
    if (status === 200) return judgeMetrics(address, text);
    if (status === 401 || status === 403) return [problem("metrics", address, text.trim(), TOKEN_HINT)];
    return [problem("metrics", address, `it answers with status ${status}`, HINT)];
  } catch (error) {
    return [problem("metrics", address, describeError(error), HINT)];
  }
}

/** @param text in Prometheus' format */
export function judgeMetrics(address: string, text: string): Finding[] {
  const values = parseMetrics(text);
  const findings: Finding[] = [];
  if (values.get("raftnode_server_out_of_space") === 1) {
    const advice = "make room on its disk (docs/operations.md, Full disk)";
    findings.push(problem("space", address, "it refuses writes, because there is no room for them", advice));
  }
  if (values.get("raftnode_server_running") === 0) {
    findings.push(
      problem("node", address, "it has failed for good", "read the end of its log, and start it again"),
    );
  }
  const slow = [
    {
      check: "disk",
      what: "writes to the log",
      seconds: percentileOf(values, "raftnode_disk_wal_fsync_duration_seconds"),
      limit: SLOW_FSYNC_SECONDS,
      advice: "give its folder a faster disk, or one of its own: every write waits for it",
    },
    {
      check: "event loop",
      what: "delays of its event loop",
      seconds: percentileOf(values, "raftnode_process_event_loop_delay_seconds"),
      limit: SLOW_LOOP_SECONDS,
      advice: "give it more of a processor: what comes too late looks like a lost leader",
    },
  ];
  for (const { check, what, seconds, limit, advice } of slow) {
    if (seconds === undefined) continue;
    const bound =
      seconds === Number.POSITIVE_INFINITY ? "more than any bound" : `at most ${seconds * 1_000} ms`;
    const says = `99 of 100 ${what} take ${bound}`;
    findings.push(seconds > limit ? warning(check, address, says, advice) : ok(check, address, says));
  }
  return findings;
}

/** By name, with labels as they are written. */
function parseMetrics(text: string): Map<string, number> {
  const values = new Map<string, number>();
  for (const line of text.split("\n")) {
    const [, name, value] = /^([a-zA-Z_:][^\s{]*(?:\{.*\})?) (\S+)/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) values.set(name, Number(value));
  }
  return values;
}

/** The bound below which that part of all values lies; undefined without values. */
function percentileOf(values: ReadonlyMap<string, number>, name: string): number | undefined {
  const total = values.get(`${name}_count`) ?? 0;
  if (total === 0) return undefined;
  const bounds = [...values].flatMap(([key, count]) => {
    const [, le] = key.startsWith(`${name}_bucket{`) ? (/le="([^"]+)"/.exec(key) ?? []) : [];
    if (le === undefined) return [];
    return [{ bound: le === "+Inf" ? Number.POSITIVE_INFINITY : Number(le), count }];
  });
  bounds.sort((a, b) => a.bound - b.bound);
  return bounds.find(({ count }) => count >= total * PERCENTILE)?.bound;
}
