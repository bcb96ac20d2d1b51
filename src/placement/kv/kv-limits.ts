// How large keys and values may be. The key's limit is part of the replicated state machine: every node must draw
// the same line, so it is no option.

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
