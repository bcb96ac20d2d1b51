// What people type to configure a node: what is taken, and how every mistake is named.

import { describe, expect, test } from "vitest";
import {
  checkPlacementConfig,
  type PlacementConfig,
  parseAddress,
  parsePeers,
} from "../../src/placement/config.js";

describe("addresses", () => {
  test.each([
    ["127.0.0.1:7001", { host: "127.0.0.1", port: 7001 }],
    ["node-1.example.com:443", { host: "node-1.example.com", port: 443 }],
    ["[::1]:7001", { host: "::1", port: 7001 }],
    ["localhost:0", { host: "localhost", port: 0 }],
  ])("%s is taken", (text, parts) => {
    expect(parseAddress(text)).toEqual(parts);
  });

  test.each([
    ["7001", '--listen "7001" has no port: write host:port, as in 127.0.0.1:7001'],
    [":7001", '--listen ":7001" has no proper host: write host:port, as in 127.0.0.1:7001 or [::1]:7001'],
    [
      "::1:7001",
      '--listen "::1:7001" has no proper host: write host:port, as in 127.0.0.1:7001 or [::1]:7001',
    ],
    ["a b:1", '--listen "a b:1" has no proper host: write host:port, as in 127.0.0.1:7001 or [::1]:7001'],
    [
      "http://h:1",
      '--listen "http://h:1" has no proper host: write host:port, as in 127.0.0.1:7001 or [::1]:7001',
    ],
    ["host:", '--listen "host:" has no port between 0 and 65535: write host:port, as in 127.0.0.1:7001'],
    [
      "host:65536",
      '--listen "host:65536" has no port between 0 and 65535: write host:port, as in 127.0.0.1:7001',
    ],
    [
      "host:7e3",
      '--listen "host:7e3" has no port between 0 and 65535: write host:port, as in 127.0.0.1:7001',
    ],
  ])("%s is refused with what would be right", (text, message) => {
    expect(() => parseAddress(text, "--listen")).toThrow(message);
  });
});

describe("peers", () => {
  test("a list of id=host:port is taken, spaces around its parts are not minded", () => {
    expect([...parsePeers("1=127.0.0.1:7001, 2=127.0.0.1:7002")]).toEqual([
      [1n, "127.0.0.1:7001"],
      [2n, "127.0.0.1:7002"],
    ]);
  });

  test.each([
    ["", '--members "" is not id=host:port'],
    [
      "127.0.0.1:7001",
      '"127.0.0.1:7001" is not id=host:port with an id of 1 or higher, as in 1=127.0.0.1:7001,2=',
    ],
    ["0=h:1", '"0=h:1" is not id=host:port with an id of 1 or higher'],
    ["18446744073709551616=h:1", "is not id=host:port with an id of 1 or higher"],
    ["1=h:1,1=h:2", "--members names node 1 twice"],
    ["1=h:1,2=h:1", "--members gives nodes 1 and 2 the same address h:1"],
    ["1=h", '--members: address of node 1 "h" has no port'],
    ["1=h:0", '--members: address of node 1 "h:0" has port 0, which nobody can dial'],
    ["1=h:1,", '"" is not id=host:port'],
  ])("%j is refused", (text, message) => {
    expect(() => parsePeers(text, "--members")).toThrow(message);
  });
});

describe("a configuration", () => {
  const good: PlacementConfig = { id: 1n, clusterId: "c", dataDir: "d", listen: "127.0.0.1:7001" };

  test("is completed with the defaults", () => {
    expect(checkPlacementConfig(good)).toMatchObject({
      listen: { host: "127.0.0.1", port: 7001 },
      http: undefined,
      limits: { maxValueBytes: 1_048_576, defaultDeadlineMs: 5_000 },
    });
  });

  const mistakes: readonly (readonly [string, Partial<PlacementConfig>, string])[] = [
    ["id 0", { id: 0n }, "id must be 1 or higher, is 0"],
    [
      "an odd cluster id",
      { clusterId: "a/b" },
      'cluster id "a/b" must be 1 to 64 letters, digits, ".", "_" or "-"',
    ],
    ["no data folder", { dataDir: "" }, "data folder is empty"],
    [
      "members without this node",
      { members: new Map([[2n, "h:1"]]) },
      "members names 2 but not this node, 1",
    ],
    ["an undialable advertise", { advertise: "h:0" }, 'advertise "h:0" has port 0'],
    ["a malformed http", { http: "8080" }, 'http "8080" has no port'],
    [
      "a limit of 0",
      { limits: { maxValueBytes: 0 } },
      "maxValueBytes must be a whole number from 1 to 8388608, is 0",
    ],
  ];
  test.each(mistakes)("with %s is refused", (_, change, message) => {
    expect(() => checkPlacementConfig({ ...good, ...change })).toThrow(message);
  });
});
