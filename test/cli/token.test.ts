// Tokens on the command line: how they are made, where commands find theirs, and what they say when it is not enough; with
// a real node that has tokens and certificates.

import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { type PlacementCenter, startPlacementCenter } from "../../src/placement/server.js";
import { createToken, parseTokens, tokenLines } from "../../src/services/access-tokens.js";
import { freePorts } from "../placement/cluster.js";
import { createAuthority } from "../transport/support/certificates.js";
import { runInProcess } from "./recorded-output.js";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "placement-center-token-"));
  const made = folder;
  onTestFinished(() => rmSync(made, { recursive: true, force: true }));
});

const at = (name: string): string => join(folder, name);
const withRoles = (...roles: string[]) => ["token", "new", "--name", "shop", "--role", ...roles];

describe("token new", () => {
  test("shows the token, and the entry that lets its holder in", async () => {
    const { status, lines, notes } = await runInProcess(...withRoles("client", "metrics"));
    expect(status).toBe(0);
    const [token = "", ...entry] = lines;
    expect(parseTokens(entry.join("\n"), "t").find(token)).toMatchObject({
      name: "shop",
      roles: ["client", "metrics"],
    });
    expect(notes).toMatch(/for the file of --tokens/);
  });

  test("writes both where it is told to, the token for its owner alone", async () => {
    writeFileSync(at("tokens.toml"), tokenLines(createToken("older", ["admin"])).join("\n"));
    const files = ["--out", at("shop.token"), "--append-to", at("tokens.toml")];
    const { status, lines } = await runInProcess(...withRoles("client"), ...files);
    expect({ status, lines }).toEqual({ status: 0, lines: [] });
    expect(statSync(at("shop.token")).mode & 0o777).toBe(0o600);
    const table = parseTokens(readFileSync(at("tokens.toml"), "utf8"), "t");
    expect(table.entries.map(({ name }) => name)).toEqual(["older", "shop"]);
    expect(table.find(readFileSync(at("shop.token"), "utf8").trim())?.name).toBe("shop");
  });

  test("says it as JSON", async () => {
    const { lines } = await runInProcess(...withRoles("peer"), "--json");
    expect(JSON.parse(lines[0] ?? "")).toEqual({
      name: "shop",
      roles: ["peer"],
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
      token: expect.stringMatching(/^pct_/),
    });
  });

  test("changes nothing when the name is taken, the file is none, or the token's file exists", async () => {
    const tokens = tokenLines(createToken("shop", ["admin"])).join("\n");
    writeFileSync(at("tokens.toml"), tokens);
    const taken = await runInProcess(
      ...[...withRoles("client"), "--out", at("shop.token"), "--append-to", at("tokens.toml")],
    );
    expect(taken).toMatchObject({ status: 1, lines: [] });
    expect(taken.notes).toMatch(/nothing was changed: .*two tokens have the name "shop"/);
    expect(existsSync(at("shop.token"))).toBe(false);
    writeFileSync(at("other"), "hello");
    for (const flag of ["--append-to", "--out"]) {
      expect(await runInProcess(...withRoles("client"), flag, at("other"))).toMatchObject({
        status: 1,
        lines: [],
      });
    }
    expect(readFileSync(at("other"), "utf8")).toBe("hello");
    expect(readFileSync(at("tokens.toml"), "utf8")).toBe(tokens);
  });

  test.each([
    [withRoles("root"), /Allowed choices are client, metrics, admin, peer/],
    [["token", "new", "--name", "a b", "--role", "client"], /1 to 64 letters/],
    [["token", "new", "--role", "client"], /--name/],
    [["token", "new", "--name", "shop"], /--role/],
  ])("%j is wrong usage", async (args, message) => {
    const { status, notes } = await runInProcess(...args);
    expect(status).toBe(2);
    expect(notes).toMatch(message);
  });
});

describe("a command for a cluster with tokens and certificates", () => {
  const authority = createAuthority("the cluster's authority");
  const [admin, client] = [createToken("admin", ["admin"]), createToken("client", ["client"])];
  let place = "";
  let center: PlacementCenter | undefined;
  let reach: string[] = [];
  let http = "";

  beforeAll(async () => {
    place = mkdtempSync(join(tmpdir(), "placement-center-token-"));
    const write = (name: string, text: string): string => {
      writeFileSync(join(place, name), text);
      return join(place, name);
    };
    const { cert, key, ca } = authority.issue("node");
    const caFile = write("ca.crt", ca);
    const [port = 0] = await freePorts(1);
    const listen = `127.0.0.1:${port}`;
    center = await startPlacementCenter({
      id: 1n,
      clusterId: "tokens",
      dataDir: join(place, "data"),
      listen,
      http: "127.0.0.1:0",
      members: new Map([[1n, listen]]),
      tickIntervalMs: 20,
      tls: {
        certFile: write("crt", cert),
        keyFile: write("key", key),
        caFile,
        optionalClientCertificates: true,
      },
      access: {
        tokensFile: write("tokens.toml", [admin, client].flatMap((token) => tokenLines(token)).join("\n")),
      },
    });
    await center.node.leaderKnown({ deadlineMs: 15_000 });
    http = `127.0.0.1:${center.httpAddress?.port}`;
    reach = ["-e", listen, "--tls-ca", caFile];
  });

  afterAll(async () => {
    await center?.stop();
    rmSync(place, { recursive: true, force: true });
  });

  const fileOf = ({ token }: { readonly token: string }): string => {
    writeFileSync(at("token"), `${token}\n`);
    return at("token");
  };

  test("finds its token in the file, else in the environment", async () => {
    const put = ["put", "greeting", "hello", ...reach];
    expect(await runInProcess(...put, "--token-file", fileOf(client))).toMatchObject({ status: 0 });
    vi.stubEnv("PLACEMENT_CENTER_TOKEN", client.token);
    onTestFinished(() => {
      vi.unstubAllEnvs();
    });
    expect(await runInProcess("get", "greeting", ...reach)).toMatchObject({ status: 0, lines: ["hello"] });
    vi.stubEnv("PLACEMENT_CENTER_TOKEN", "two words");
    expect(await runInProcess("get", "greeting", ...reach)).toMatchObject({
      status: 2,
      notes: expect.stringMatching(/PLACEMENT_CENTER_TOKEN: no token in it/),
    });
    vi.stubEnv("PLACEMENT_TOKEN_FILE", fileOf(client));
    expect(await runInProcess("get", "greeting", ...reach)).toMatchObject({ status: 0 });
  });

  test("says what is missing, with a reason for scripts", async () => {
    const none = await runInProcess("get", "greeting", ...reach, "--json");
    expect(none.status).toBe(1);
    expect(JSON.parse(none.notes)).toMatchObject({
      error: { reason: "unauthenticated", message: expect.stringMatching(/--token-file/) },
    });
    const few = await runInProcess("leader", "transfer", ...reach, "--token-file", fileOf(client));
    expect(few.notes).toMatch(/token client has the role client, and .*TransferLeader needs admin/);
    const unread = await runInProcess("get", "greeting", ...reach, "--token-file", at("nowhere"));
    expect(unread).toMatchObject({ status: 2, notes: expect.stringMatching(/cannot be read.*nowhere/) });
  });

  test("asks nodes and their pages how they are, as doctor does", async () => {
    const doctor = ["doctor", ...reach, "--metrics", http, "--token-file"];
    const healthy = await runInProcess(...doctor, fileOf(admin));
    expect(healthy.lines.join("\n")).toMatch(/disk/);
    expect(healthy.lines.join("\n")).not.toMatch(/Unauthenticated|refused|role/);
    const refused = await runInProcess(...doctor, fileOf(client));
    expect(refused.status).toBe(1);
    expect(refused.lines.join("\n")).toMatch(/\/metrics needs metrics or admin/);
  });
});
