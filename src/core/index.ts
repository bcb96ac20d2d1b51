// What the core offers to the world; `src/index.ts` passes it on.

export {
  type ConfChange,
  type ConfChangeSingle,
  ConfChangeTransition,
  ConfChangeType,
  type ConfChangeV2,
  type ConfState,
  type Entry,
  EntryType,
  type HardState,
  type Message,
  MessageType,
  type Snapshot,
  type SnapshotMetadata,
} from "../gen/eraftpb_pb.js";
export { isLocalMessage } from "./admission.js";
export { asV2, decodeConfChange } from "./confchange/conf-change.js";
export {
  type Config,
  type ConfigInput,
  DEFAULT_CONFIG,
  type ReadOnlyOption,
  validateConfig,
} from "./config.js";
export {
  ConfChangeError,
  ConfigInvalid,
  InvariantViolation,
  StorageError,
  type StorageErrorCode,
} from "./errors.js";
export { MemoryStorage } from "./log/memory-storage.js";
export type { GetEntriesContext, InitialState, Storage } from "./log/storage.js";
export { newConfState, newHardState, newMessage, newNormalEntry, newSnapshot } from "./messages.js";
export { type Proposal, RawNode } from "./raw-node.js";
export type { LightReady, ReadState, Ready } from "./ready.js";
export type { ProgressStatus, Status } from "./status.js";
export type { IgnoreReason, Trace, TraceEvent } from "./trace.js";
export {
  type DropReason,
  type LogIndex,
  NO_INDEX,
  NO_LIMIT,
  NO_NODE,
  type NodeId,
  type ProgressStateName,
  type SoftState,
  type StateRole,
  type StepOutcome,
  type Term,
} from "./types.js";
