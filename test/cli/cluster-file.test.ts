// What a local cluster keeps about itself: found again at the second start, and never taken from somebody else's
// folder. Real folders.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openClusterFile } from "../../src/cli/cluster/cluster-file.js";

const DEFAULT_PORTS = { port: undefined, httpPort: undefined };
let parent = "";

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "cluster-file-"));
});

afterEach(() => rmSync(parent, { recursive: true }));

test("a first start makes three nodes with an id of their own, a second finds the same", () => {
  const folder = join(parent, "data");
  const first = openClusterFile(folder, DEFAULT_PORTS);
  expect(first.nodes.map(({ listen, http }) => [listen, http])).toEqual([
    ["127.0.0.1:7001", "127.0.0.1:8001"],
    ["127.0.0.1:7002", "127.0.0.1:8002"],
    ["127.0.0.1:7003", "127.0.0.1:8003"],
  ]);
  expect(openClusterFile(folder, DEFAULT_PORTS)).toEqual(first);
  expect(openClusterFile(join(parent, "other"), DEFAULT_PORTS).clusterId).not.toBe(first.clusterId);
});

test("other ports are kept, and named when they no longer fit", () => {
  const made = openClusterFile(join(parent, "data"), { port: 9101, httpPort: 9201 });
  expect(openClusterFile(join(parent, "data"), DEFAULT_PORTS)).toEqual(made);
  expect(openClusterFile(join(parent, "data"), { port: 9101, httpPort: undefined })).toEqual(made);
  expect(() => openClusterFile(join(parent, "data"), { port: 7001, httpPort: undefined })).toThrow(
    /made for 127\.0\.0\.1:9101.*leave out --port/,
  );
});

test("a folder with other things in it is refused and stays as it is", () => {
  writeFileSync(join(parent, "letter.txt"), "dear");
  expect(() => openClusterFile(parent, DEFAULT_PORTS)).toThrow(/choose another folder with --data/);
  expect(existsSync(join(parent, "cluster.json"))).toBe(false);
});

test("a file in the folder's place is refused", () => {
  const file = join(parent, "file");
  writeFileSync(file, "");
  expect(() => openClusterFile(file, DEFAULT_PORTS)).toThrow(/is no folder/);
});

test.each(["", "{}", "[1]", '{"format":2,"clusterId":"x","nodes":[]}', "\0\0"])(
  "a cluster.json that says %j is refused and stays as it is",
  (content) => {
    const path = join(parent, "cluster.json");
    writeFileSync(path, content);
    expect(() => openClusterFile(parent, DEFAULT_PORTS)).toThrow(/cannot be read as the description/);
    expect(readFileSync(path, "utf8")).toBe(content);
  },
);

test("a start that was cut short while it wrote is made good by the next", () => {
  const folder = join(parent, "data");
  mkdirSync(folder);
  writeFileSync(join(folder, "cluster.json.tmp"), "{");
  expect(openClusterFile(folder, DEFAULT_PORTS).nodes).toHaveLength(3);
});
