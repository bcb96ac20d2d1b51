// `placement-center` with certificates and tokens: nodes that take them as flags, clients that show theirs, and the refusal
// to be reached from elsewhere without. Real processes; the certificates are made by the test.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { findFreePorts } from "../../src/cli/processes/ports.js";
import { createAuthority, type Identity } from "../transport/support/certificates.js";
import { run, start, temporaryFolder } from "./support.js";

const authority = createAuthority("authority");

function flagsOf({ cert, key, ca }: Identity): string[] {
  const dir = temporaryFolder();
  const write = (name: string, text: string): string => {
    const path = join(dir, name);
    writeFileSync(path, text);
    return path;
  };
  return [
    ...["--tls-cert", write("crt.pem", cert)],
    ...["--tls-key", write("key.pem", key)],
    ...["--tls-ca", write("ca.pem", ca)],
  ];
}

async function nodeArgs(host: string): Promise<{ readonly args: string[]; readonly address: string }> {
  const [port = 0] = await findFreePorts("127.0.0.1", 1);
  const own = ["--id", "1", "--cluster-id", "alone", "--data", join(temporaryFolder(), "node")];
  const members = ["--members", `1=127.0.0.1:${port}`];
  return { args: ["start", ...own, "--listen", `${host}:${port}`, ...members], address: `127.0.0.1:${port}` };
}

test("a node with certificates answers commands that show one of the same authority, and no others", async () => {
  const { args, address } = await nodeArgs("127.0.0.1");
  const node = start([...args, ...flagsOf(authority.issue("node-1")), "--tls-peer-names", "node-1,node-2"]);
  await node.says(/"msg":"listening"/);
  const client = ["-e", address, ...flagsOf(authority.issue("somebody"))];
  expect(await run(["put", "greeting", "hello", ...client])).toMatchObject({ status: 0 });
  expect(await run(["get", "greeting", ...client])).toMatchObject({ status: 0, stdout: "hello" });
  const stranger = flagsOf(createAuthority("another").issue("somebody"));
  const quick = ["-e", address, "--deadline-ms", "1000"];
  expect((await run(["get", "greeting", ...quick, ...stranger])).status).toBe(4);
  expect((await run(["get", "greeting", ...quick])).status).toBe(4);
});

test("a command with --tls alone trusts the authorities that Node.js trusts", async () => {
  const { args, address } = await nodeArgs("127.0.0.1");
  const [, , , , , authorities = ""] = flagsOf(authority.issue("node-1"));
  const node = start([
    ...args,
    ...flagsOf(authority.issue("node-1")).slice(0, 4),
    ...["--log-level", "warn"],
  ]);
  await node.says(/may speak as a peer/);
  const put = ["put", "greeting", "hello", "-e", address, "--tls"];
  expect(await run(put, { NODE_EXTRA_CA_CERTS: authorities })).toMatchObject({ status: 0 });
  const refused = await run([...put, "--deadline-ms", "1000"]);
  expect(refused.status).toBe(4);
  expect(refused.stderr).toMatch(/not among those trusted here/);
});

test("a node without certificates does not start where other machines reach it, unless told to", async () => {
  const { args } = await nodeArgs("0.0.0.0");
  const { status, stderr } = await run(args);
  expect(status).toBe(2);
  expect(stderr).toMatch(/^error: listen 0\.0\.0\.0:\d+ is reached from other machines.*\n$/);
  const node = start([...args, "--insecure-peers"]);
  await node.says(/"msg":"listening"/);
  node.signal("SIGTERM");
  expect((await node.finished).status).toBe(0);
});

test("a node that others reach does not start when nothing would tell who calls, and starts when that is wanted", async () => {
  const { args } = await nodeArgs("0.0.0.0");
  const certificate = flagsOf(authority.issue("node-1")).slice(0, 4);
  const { status, stderr } = await run([...args, ...certificate]);
  expect(status).toBe(2);
  expect(stderr).toMatch(
    /^error: listen 0\.0\.0\.0:\d+ is reached .*nothing tells who calls.*--anonymous\)\n$/,
  );
  const node = start([...args, ...certificate, "--anonymous"]);
  await node.says(/"msg":"listening"/);
});

test("nodes without mutual TLS know each other by the token in a file, and their clients by theirs", async () => {
  const dir = temporaryFolder();
  const at = (name: string): string => join(dir, name);
  for (const [name, role] of [
    ["nodes", "peer"],
    ["me", "admin"],
  ] as const) {
    const made = ["token", "new", "--name", name, "--role", role, "--append-to", at("tokens.toml")];
    expect(await run([...made, "--out", at(`${name}.token`)])).toMatchObject({ status: 0 });
  }
  const ports = await findFreePorts("127.0.0.1", 2);
  const members = ports.map((port, node) => `${node + 1}=127.0.0.1:${port}`).join(",");
  for (const [node, port] of ports.entries()) {
    const own = ["--id", String(node + 1), "--cluster-id", "tokens", "--data", at(`node-${node + 1}`)];
    const files = ["--tokens", at("tokens.toml"), "--peer-token-file", at("nodes.token")];
    const running = start(["start", ...own, "--listen", `127.0.0.1:${port}`, "--members", members, ...files]);
    await running.says(/"msg":"listening"/);
  }
  const endpoints = ports.map((port) => `127.0.0.1:${port}`).join(",");
  const put = ["put", "greeting", "hello", "--deadline-ms", "30000", "-e", endpoints];
  expect(await run([...put, "--token-file", at("me.token")])).toMatchObject({ status: 0 });
  const refused = await run(put);
  expect(refused.status).toBe(1);
  expect(refused.stderr).toMatch(/this node wants a token/);
});

test("files that are no certificates are named", async () => {
  const { args } = await nodeArgs("127.0.0.1");
  const { status, stderr } = await run([...args, "--tls-cert", "package.json", "--tls-key", "nowhere.pem"]);
  expect(status).toBe(2);
  expect(stderr).toMatch(/^error: the TLS key cannot be read: .*nowhere\.pem.*\n$/);
});
