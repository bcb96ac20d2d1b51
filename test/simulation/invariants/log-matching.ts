// Entries of the same index and term are the same, and so is all that precedes them (paper §5.3). By induction it is
// enough that each entry has one predecessor, whoever holds it.

import { crc32 } from "../../../src/storage/checksum.js";
import type { Invariant } from "../observation.js";

export const logMatching: Invariant = () => {
  const seen = new Map<string, string>();
  return (observation) => {
    if (observation.type !== "appended") return undefined;
    let before = observation.previousTerm;
    for (const { index, term, entryType, data } of observation.entries) {
      const key = `${index}/${term}`;
      const content = `${entryType} ${crc32(data)} after ${before}`;
      const known = seen.get(key);
      if (known !== undefined && known !== content && before !== undefined) {
        return `entry ${key} on node ${observation.run.id} is ${content}, elsewhere it is ${known}`;
      }
      if (known === undefined && before !== undefined) seen.set(key, content);
      before = term;
    }
    return undefined;
  };
};
