// The network of the runtime's tests is the one that embedders are given for theirs.

export { MemoryNetwork } from "../../src/testing/memory-network.js";
