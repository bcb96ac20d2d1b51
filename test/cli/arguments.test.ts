// What people type: every value that is read, and every mistake named with what would have been right.

import { describe, expect, test } from "vitest";
import {
  parseCount,
  parseEndpoints,
  parseHostPort,
  parseMembers,
  parseNodeId,
} from "../../src/cli/arguments.js";

describe("node ids", () => {
  test.each(["1", "7", "18446744073709551615"])("take %s", (text) => {
    expect(parseNodeId(text)).toBe(BigInt(text));
  });

  test.each(["0", "-1", "1.5", "one", "", "0x1", "18446744073709551616", "111111111111111111111"])(
    "refuse %j",
    (text) => {
      expect(() => parseNodeId(text)).toThrow(/node id/);
    },
  );
});

describe("counts", () => {
  test("take whole numbers within their limits, limits included", () => {
    expect([parseCount("1", 1, 9), parseCount("9", 1, 9)]).toEqual([1, 9]);
  });

  test.each(["0", "10", "-1", "2.5", "1e1", "", " 1"])("refuse %j and say what is allowed", (text) => {
    expect(() => parseCount(text, 1, 9)).toThrow("from 1 to 9");
  });
});

describe("addresses", () => {
  test("of one or more nodes are taken as typed", () => {
    expect(parseEndpoints("127.0.0.1:7001,[::1]:7002,node-3.example:80")).toEqual([
      "127.0.0.1:7001",
      "[::1]:7002",
      "node-3.example:80",
    ]);
  });

  test.each(["", "7001", "host", "host:", ":7001", "host:99999", "http://host:1", "a:1,,b:2", "a b:1"])(
    "refuse %j and show a right one",
    (text) => {
      expect(() => parseEndpoints(text)).toThrow("127.0.0.1:7001");
    },
  );

  test("of a single node are taken as typed", () => {
    expect(parseHostPort("localhost:0")).toBe("localhost:0");
  });
});

describe("members", () => {
  test("are read as id and address", () => {
    expect([...parseMembers("1=127.0.0.1:7001,2=127.0.0.1:7002")]).toEqual([
      [1n, "127.0.0.1:7001"],
      [2n, "127.0.0.1:7002"],
    ]);
  });

  test.each(["", "127.0.0.1:7001", "0=a:1", "x=a:1", "1=a:1,1=b:2", "1=a:1,2=a:1", "1=a:0"])(
    "refuse %j",
    (text) => {
      expect(() => parseMembers(text)).toThrow();
    },
  );
});
