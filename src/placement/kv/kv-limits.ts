// How large keys, values, transactions, sessions and pages may be. What is part of the replicated state machine is no
// option: every node must draw the same line.

/** Bytes of UTF-8. LMDB could take 1,978. */
export const MAX_KEY_BYTES = 1_024;
/** Bytes. An option of the service, not of the state machine. */
export const DEFAULT_MAX_VALUE_BYTES = 1024 * 1024;

/** What is wrong with a key, as a sentence; undefined when nothing is. */
export function keyProblem(key: string): string | undefined {
  if (key === "") return `key is empty: give 1 to ${MAX_KEY_BYTES.toLocaleString("en")} bytes of UTF-8`;
  // No string is longer in UTF-16 units than in UTF-8 bytes: spares counting a hopeless one.
  const bytes = key.length > MAX_KEY_BYTES ? key.length : Buffer.byteLength(key, "utf8");
  if (bytes <= MAX_KEY_BYTES) return undefined;
  return `key has more than ${MAX_KEY_BYTES.toLocaleString("en")} bytes of UTF-8 (at least ${bytes.toLocaleString("en")}): use a shorter one`;
}

/** Of a transaction: comparisons, and operations in each of its two lists. Part of the replicated state machine. */
export const MAX_TXN_COMPARES = 128;
export const MAX_TXN_OPERATIONS = 128;
/** What one operation of a transaction may list, and what all of them together may return. */
export const MAX_TXN_RANGE_ENTRIES = 1_000;
export const MAX_TXN_RESULT_BYTES = 4 * 1024 * 1024;

/** Sessions: part of the replicated state machine too. */
export const CLIENT_ID_BYTES = 16;
export const MAX_SESSIONS = 10_000;
export const MAX_SESSION_BYTES = 32 * 1024 * 1024;
/** A session that was not used for this many entries of the log is forgotten. */
export const MAX_SESSION_IDLE_ENTRIES = 10_000_000;
/** Results that are kept for one client beyond those that it has finished with. */
export const MAX_SESSION_RESULTS = 1_024;
/** Of one result; a larger one is remembered without its answer. */
export const MAX_KEPT_RESULT_BYTES = 16 * 1024;

/** Of one page of a range. */
export const DEFAULT_RANGE_ENTRIES = 1_000;
export const MAX_RANGE_ENTRIES = 10_000;
export const MAX_RANGE_BYTES = 4 * 1024 * 1024;
