// The configuration of a node: its defaults are fit to run with, and what is not is refused by name before anything
// is constructed.

import { describe, expect, test } from "vitest";
import {
  type ConfigInput,
  ConfigInvalid,
  DEFAULT_CONFIG,
  MemoryStorage,
  NO_LIMIT,
  RawNode,
  validateConfig,
} from "../../src/core/index.js";
import { CheckedNode } from "../support/checked-node.js";

const MINIMAL: ConfigInput = { id: 1n, randomInt: (min) => min };

describe("a configuration", () => {
  test("needs an id and a source of chance, and is safe by default", () => {
    const config = validateConfig(MINIMAL);
    expect(config).toMatchObject({ ...DEFAULT_CONFIG, id: 1n, electionTick: 10, heartbeatTick: 1 });
    expect(config).toMatchObject({ preVote: true, checkQuorum: true, stepDownOnRemoval: true });
    expect(config.readOnlyOption).toBe("safe");
    for (const limit of ["maxSizePerMsg", "maxInflightBytes", "maxUncommittedSize"] as const) {
      expect(config[limit]).toBeLessThan(NO_LIMIT);
    }
  });

  test.each<{ readonly fields: Partial<ConfigInput>; readonly because: RegExp }>([
    { fields: { id: 0n }, because: /^id must be greater than 0/ },
    { fields: { id: -1n }, because: /^id must be greater than 0/ },
    { fields: { heartbeatTick: 0 }, because: /^heartbeatTick/ },
    { fields: { heartbeatTick: 1.5 }, because: /^heartbeatTick/ },
    { fields: { electionTick: 5, heartbeatTick: 5 }, because: /^electionTick .* at least 6/ },
    { fields: { electionTick: Number.NaN }, because: /^electionTick/ },
    { fields: { minElectionTick: 9 }, because: /^minElectionTick .* at least 10/ },
    { fields: { minElectionTick: 10, maxElectionTick: 10 }, because: /^maxElectionTick .* at least 11/ },
    { fields: { minElectionTick: 20 }, because: /^maxElectionTick .* at least 21/ },
    { fields: { maxInflightMsgs: 0 }, because: /^maxInflightMsgs/ },
    { fields: { maxInflightMsgs: NO_LIMIT }, because: /^maxInflightMsgs/ },
    { fields: { maxPendingReads: 0 }, because: /^maxPendingReads/ },
    { fields: { maxSizePerMsg: -1 }, because: /^maxSizePerMsg/ },
    { fields: { maxSizePerMsg: 100, maxInflightBytes: 99 }, because: /^maxInflightBytes .* at least 100/ },
    {
      fields: { maxSizePerMsg: 100, maxUncommittedSize: 99 },
      because: /^maxUncommittedSize .* at least 100/,
    },
    { fields: { maxCommittedSizePerReady: -1 }, because: /^maxCommittedSizePerReady/ },
    { fields: { maxApplyUnpersistedLogLimit: 0.5 }, because: /^maxApplyUnpersistedLogLimit/ },
    {
      fields: { readOnlyOption: "leaseBased", checkQuorum: false },
      because: /leaseBased requires checkQuorum/,
    },
  ])("with $fields is refused", ({ fields, because }) => {
    expect(() => validateConfig({ ...MINIMAL, ...fields })).toThrow(because);
    expect(() => new RawNode({ ...MINIMAL, ...fields }, new MemoryStorage())).toThrow(ConfigInvalid);
  });

  test("may lift every limit that is not a count of slots", () => {
    const limits = {
      maxSizePerMsg: NO_LIMIT,
      maxInflightBytes: NO_LIMIT,
      maxUncommittedSize: NO_LIMIT,
      maxCommittedSizePerReady: NO_LIMIT,
      maxApplyUnpersistedLogLimit: NO_LIMIT,
    };
    expect(validateConfig({ ...MINIMAL, ...limits })).toMatchObject(limits);
  });
});

describe("the random election timeout", () => {
  function drawnWith(fields: Partial<ConfigInput>): { ranges: Set<string>; timeout: number } {
    const ranges = new Set<string>();
    const randomInt = (min: number, max: number): number => {
      ranges.add(`[${min}, ${max})`);
      return max - 1;
    };
    const node = new CheckedNode(
      { ...MINIMAL, randomInt, ...fields },
      MemoryStorage.withConfState({ voters: [1n, 2n] }),
    );
    return { ranges, timeout: node.raft.randomizedElectionTimeout };
  }

  test.each([
    { fields: {}, range: "[10, 20)", timeout: 19 },
    { fields: { electionTick: 30 }, range: "[30, 60)", timeout: 59 },
    { fields: { minElectionTick: 12 }, range: "[12, 20)", timeout: 19 },
    { fields: { minElectionTick: 12, maxElectionTick: 40 }, range: "[12, 40)", timeout: 39 },
    { fields: { minElectionTick: 10, maxElectionTick: 11 }, range: "[10, 11)", timeout: 10 },
  ])("with $fields is drawn from $range", ({ fields, range, timeout }) => {
    const drawn = drawnWith(fields);
    expect([...drawn.ranges]).toEqual([range]);
    expect(drawn.timeout).toBe(timeout);
  });
});
