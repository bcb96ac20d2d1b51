// What embedders test with, as `raft-node/testing`: the contracts that a storage, a store of snapshots and a transport of
// their own have to keep, for any test runner, and a network and a clock that a test controls.

export type { ContractCase } from "./testing/contract-case.js";
export { type DurableLogUnderTest, durableLogContract } from "./testing/durable-log-contract.js";
export { ManualClock } from "./testing/manual-clock.js";
export { MemoryNetwork } from "./testing/memory-network.js";
export { MemorySnapshots } from "./testing/memory-snapshots.js";
export { RecordingInbox } from "./testing/recording-inbox.js";
export { type SnapshotStoreUnderTest, snapshotStoreContract } from "./testing/snapshot-store-contract.js";
export { type StorageUnderTest, storageContract } from "./testing/storage-contract.js";
export { type TransportEndpoint, transportContract } from "./testing/transport-contract.js";
