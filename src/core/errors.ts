// What the core throws: a refused configuration, a storage that cannot answer, a broken invariant. Expected
// outcomes are not here: they are values (`StepOutcome`).

/**
 * A `Config` that must not run. Nothing was constructed.
 */
export class ConfigInvalid extends Error {
  override readonly name = "ConfigInvalid";
}

/**
 * Why a `Storage` could not answer (raft-rs `StorageError`).
 *
 * - `compacted`: the index lies before the first entry kept. The core sends a snapshot instead.
 * - `unavailable`: the index lies behind the last entry.
 * - `logTemporarilyUnavailable`: being fetched; `onEntriesFetched` will follow. Only for contexts with `canAsync`.
 * - `snapshotOutOfDate`: the snapshot offered is older than what the storage holds.
 * - `snapshotTemporarilyUnavailable`: being made; the core asks again later.
 */
export type StorageErrorCode =
  | "compacted"
  | "unavailable"
  | "logTemporarilyUnavailable"
  | "snapshotOutOfDate"
  | "snapshotTemporarilyUnavailable";

export class StorageError extends Error {
  override readonly name = "StorageError";
  constructor(
    readonly code: StorageErrorCode,
    message: string = code,
  ) {
    super(message);
  }
}

/** A membership change that cannot be applied to the present membership. The membership is unchanged. */
export class ConfChangeError extends Error {
  override readonly name = "ConfChangeError";
}

/**
 * Something that cannot happen has happened: lost disk data, a broken promise of the embedder, or a bug here.
 * The node must stop: going on could lose acknowledged entries. Never catch this to continue.
 */
export class InvariantViolation extends Error {
  override readonly name = "InvariantViolation";
}

/** Throws {@link InvariantViolation} unless `condition` holds. `explain` is only called on failure. */
export function invariant(condition: boolean, explain: () => string): asserts condition {
  if (!condition) throw new InvariantViolation(explain());
}

/** For the end of an exhaustive switch: compiles only if every case was handled. */
export function assertNever(value: never): never {
  throw new InvariantViolation(`unhandled case ${String(value)}`);
}
