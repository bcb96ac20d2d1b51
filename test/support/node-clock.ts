// The clock of the runtime's tests is the one that embedders are given for theirs.

export { ManualClock } from "../../src/testing/manual-clock.js";
