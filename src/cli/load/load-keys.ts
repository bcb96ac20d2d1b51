// The keys that a load works on: written before it begins, in large transactions, and removed when it has ended.

import type { PlacementClient } from "../../placement/client.js";
import type { TxnStep } from "../../placement/client-kv.js";
import { loadKey } from "./operations.js";

const KEYS_PER_TXN = 100;
/** A transaction is kept well below what one command may have. */
const BYTES_PER_TXN = 256 * 1024;
const TXNS_AT_ONCE = 8;

/** @throws PlacementError */
export async function writeLoadKeys(
  client: PlacementClient,
  prefix: string,
  keys: number,
  value: Uint8Array,
  onProgress: (done: number) => void,
): Promise<void> {
  const perTxn = Math.max(1, Math.min(KEYS_PER_TXN, Math.floor(BYTES_PER_TXN / Math.max(1, value.length))));
  let next = 0;
  let done = 0;
  const worker = async (): Promise<void> => {
    while (next < keys) {
      const from = next;
      next = Math.min(keys, from + perTxn);
      const count = next - from;
      const success = Array.from({ length: count }, (_, more): TxnStep => {
        return { kind: "set", key: loadKey(prefix, from + more), value };
      });
      await client.txn({ success });
      done += count;
      onProgress(done);
    }
  };
  await Promise.all(Array.from({ length: TXNS_AT_ONCE }, worker));
}

/** Everything under the prefix. @throws PlacementError */
export async function removeLoadKeys(
  client: PlacementClient,
  prefix: string,
  onProgress: (done: number) => void,
): Promise<void> {
  let done = 0;
  for (;;) {
    const { entries } = await client.range(
      { prefix },
      { limit: KEYS_PER_TXN * TXNS_AT_ONCE, keysOnly: true },
    );
    if (entries.length === 0) return;
    const steps = entries.map(({ key }): TxnStep => ({ kind: "delete", key }));
    const txns = Array.from({ length: Math.ceil(steps.length / KEYS_PER_TXN) }, (_, nth) =>
      steps.slice(nth * KEYS_PER_TXN, (nth + 1) * KEYS_PER_TXN),
    );
    await Promise.all(txns.map((success) => client.txn({ success })));
    done += entries.length;
    onProgress(done);
  }
}
