// The rules of access alone: which role opens which RPC, who is taken for whom, what a file of tokens may hold, and what
// is counted and logged. Callers are made up; real ones are in test/placement/access.test.ts.

import type { DescMethod } from "@bufbuild/protobuf";
import { Code, type ConnectError } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { Health } from "../../src/gen/grpc/health/v1/health_pb.js";
import { ServerReflection } from "../../src/gen/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as ServerReflectionAlpha } from "../../src/gen/grpc/reflection/v1alpha/reflection_pb.js";
import {
  ErrorDetail_Outcome,
  KvService,
  PlacementCenterService,
  RaftAdminService,
  RaftClientService,
  RaftMetricsService,
} from "../../src/gen/service_pb.js";
import { AccessControl, type AccessControlOptions, type Caller } from "../../src/services/access.js";
import { ACCESS_ROLES, nameOf, rolesFor } from "../../src/services/access-policy.js";
import {
  AccessConfigInvalid,
  createToken,
  parseTokenFile,
  parseTokens,
  tokenLines,
} from "../../src/services/access-tokens.js";
import { errorDetail } from "../../src/services/connect-errors.js";
import { ManualClock } from "../support/node-clock.js";
import { RecordingLogger } from "../transport/support/doubles.js";

const SERVICES = [
  KvService,
  RaftClientService,
  RaftMetricsService,
  RaftAdminService,
  PlacementCenterService,
  Health,
];
const tokens = Object.fromEntries(ACCESS_ROLES.map((role) => [role, createToken(`a-${role}`, [role])]));
const table = parseTokens(
  Object.values(tokens)
    .map((token) => tokenLines(token).join("\n"))
    .join("\n"),
  "tokens.toml",
);

function control(options: Partial<AccessControlOptions> = {}) {
  const logger = new RecordingLogger();
  const clock = new ManualClock();
  const access = new AccessControl({ tokens: table, anonymous: false, logger, clock, ...options });
  return { access, logger, clock };
}

const STRANGER: Caller = {
  remoteAddress: "10.0.0.9",
  isLocal: false,
  isCertified: false,
  isPeer: false,
  authorization: undefined,
};
const LOCAL: Caller = { ...STRANGER, remoteAddress: "127.0.0.1", isLocal: true };
const CERTIFIED: Caller = { ...STRANGER, isCertified: true };
const PEER: Caller = { ...CERTIFIED, isPeer: true };

function holder(role: string, caller = STRANGER): Caller {
  return { ...caller, authorization: `Bearer ${tokens[role]?.token}` };
}

/** `welcome`, or the code. */
function judge(access: AccessControl, method: DescMethod, caller: Caller): string {
  try {
    access.judgeCall(method, caller);
    return "welcome";
  } catch (error) {
    const { code } = error as ConnectError;
    expect(errorDetail(error)?.reason).toBe(
      code === Code.Unauthenticated ? "unauthenticated" : "permissionDenied",
    );
    return Code[code];
  }
}

function opened(access: AccessControl, caller: Caller): string[] {
  return SERVICES.flatMap(({ methods }) => methods)
    .filter((method) => judge(access, method, caller) === "welcome")
    .map((method) => nameOf(method).replace(/^.*\.v1\./, ""));
}

const WAYS = ["RaftMetricsService/Leader", "RaftMetricsService/Members", "Health/Check", "Health/Watch"];
const all = (service: (typeof SERVICES)[number]) =>
  service.methods.map((method) => nameOf(method).replace(/^.*\.v1\./, ""));

describe("what a role opens", () => {
  test.each([
    ["client", [...all(KvService), ...all(RaftClientService), ...WAYS]],
    ["metrics", [...all(RaftMetricsService), ...all(Health)]],
    [
      "admin",
      [
        ...SERVICES.filter((service) => service !== PlacementCenterService).flatMap(all),
        "PlacementCenterService/SendRaftConfChange",
      ],
    ],
    ["peer", [...all(RaftMetricsService), ...all(PlacementCenterService), ...all(Health)]],
  ])("%s", (role, rpcs) => {
    const { access } = control();
    expect(opened(access, holder(role)).sort()).toEqual([...new Set(rpcs)].sort());
    expect(access.judgePage("/metrics", holder(role)) === undefined).toBe(
      role === "metrics" || role === "admin",
    );
  });

  test("any of them opens reflection, under both of its names", () => {
    for (const { method } of [ServerReflection, ServerReflectionAlpha]) {
      expect(rolesFor(method.serverReflectionInfo)).toEqual(ACCESS_ROLES);
    }
  });

  test("of a service that nobody has listed is for administrators, unless its embedder says otherwise", () => {
    const method = KvService.method.get;
    const foreign = { ...method, parent: { ...KvService, typeName: "shop.v1.Carts" } } as DescMethod;
    expect(rolesFor(foreign)).toEqual(["admin"]);
    expect(rolesFor(foreign, { "shop.v1.Carts": ["client", "admin"] })).toEqual(["client", "admin"]);
  });
});

describe("who is let in", () => {
  const get = KvService.method.get;
  const send = PlacementCenterService.method.sendRaftMessage;

  test("with tokens: nobody without one, not even from this machine; a node's certificate speaks as a node", () => {
    const { access } = control();
    for (const caller of [STRANGER, LOCAL, CERTIFIED]) expect(opened(access, caller)).toEqual([]);
    expect(judge(access, send, PEER)).toBe("welcome");
    expect(judge(access, get, PEER)).toBe("PermissionDenied");
    expect(judge(access, get, holder("client", PEER))).toBe("welcome");
    expect(judge(access, RaftAdminService.method.removeNode, holder("client", PEER))).toBe(
      "PermissionDenied",
    );
  });

  test("with tokens: a wrong token is refused wherever it comes from", () => {
    const { access } = control();
    for (const authorization of ["Bearer pct_unknown", "Basic dTpw", "Bearer", "", tokens["admin"]?.token]) {
      for (const caller of [STRANGER, LOCAL, PEER]) {
        expect(judge(access, get, { ...caller, authorization })).toBe("Unauthenticated");
      }
    }
    const { access: open } = control({ anonymous: true });
    expect(judge(open, get, { ...STRANGER, authorization: "Bearer pct_unknown" })).toBe("Unauthenticated");
    expect(opened(open, STRANGER)).toHaveLength(SERVICES.flatMap(({ methods }) => methods).length);
  });

  test("the word Bearer may be written in any case, as in every other place", () => {
    const { access } = control();
    expect(judge(access, get, { ...STRANGER, authorization: `bearer ${tokens["client"]?.token}` })).toBe(
      "welcome",
    );
  });

  test("without tokens: this machine and certificates, whatever header they send; elsewhere only if asked for", () => {
    const { access } = control({ tokens: undefined });
    for (const caller of [LOCAL, CERTIFIED, PEER, { ...LOCAL, authorization: "Bearer pct_of_others" }]) {
      expect(judge(access, get, caller)).toBe("welcome");
      expect(access.judgePage("/metrics", caller)).toBeUndefined();
    }
    expect(opened(access, STRANGER)).toEqual([]);
    expect(access.judgePage("/status", STRANGER)?.message).toMatch(/--tokens.*--tls-ca.*--anonymous/);
    expect(judge(control({ tokens: undefined, anonymous: true }).access, get, STRANGER)).toBe("welcome");
  });
});

describe("a refusal", () => {
  test("says what is needed and what to do, and that nothing was done", () => {
    const { access } = control();
    const refused = (method: DescMethod, caller: Caller): ConnectError => {
      try {
        access.judgeCall(method, caller);
      } catch (error) {
        return error as ConnectError;
      }
      throw new Error("it was let in");
    };
    const missing = refused(KvService.method.set, STRANGER);
    expect(missing.rawMessage).toMatch(/authorization: Bearer TOKEN.*--token-file/);
    expect(errorDetail(missing)?.outcome).toBe(ErrorDetail_Outcome.NOT_APPLIED);
    const denied = refused(RaftAdminService.method.removeNode, holder("client"));
    expect(denied.rawMessage).toMatch(/token a-client has the role client, and .*RemoveNode needs admin/);
    expect(errorDetail(refused(KvService.method.get, STRANGER))?.outcome).toBe(
      ErrorDetail_Outcome.UNSPECIFIED,
    );
  });

  test("is counted every time, and logged at a bounded rate, never with the token", async () => {
    const { access, logger, clock } = control();
    const secret = "pct_some-secret-of-somebody";
    for (let call = 0; call < 100; call += 1) {
      judge(access, KvService.method.get, { ...STRANGER, authorization: `Bearer ${secret}` });
      judge(access, RaftAdminService.method.removeNode, holder("client"));
      access.judgePage("/metrics", STRANGER);
    }
    expect(access.refusals).toEqual([
      { reason: "unauthenticated", service: "raftnode.v1.KvService", count: 100 },
      { reason: "permissionDenied", service: "raftnode.v1.RaftAdminService", count: 100 },
      { reason: "unauthenticated", service: "page", count: 100 },
    ]);
    expect(logger.lines).toHaveLength(2);
    await clock.advance(10_000);
    judge(access, KvService.method.get, STRANGER);
    expect(logger.lines).toHaveLength(3);
    expect(logger.lines[2]?.fields).toMatchObject({ from: "10.0.0.9", unlogged: 199 });
    expect(JSON.stringify(logger.lines)).not.toContain(secret);
  });
});

describe("tokens that are withdrawn", () => {
  test("end what is open with them, and nothing else", () => {
    const { access } = control();
    const ended: string[] = [];
    const watch = (role: string) =>
      access.judgeCall(KvService.method.watch, holder(role))?.onWithdrawn((error) => {
        ended.push(`${role} ${Code[error.code]}`);
      });
    watch("client");
    watch("admin");
    const stop = watch("admin");
    const others = table.entries.filter(({ name }) => name !== "a-client");
    const demoted = others.map((entry) =>
      entry.name === "a-admin" ? { ...entry, roles: ["metrics"] } : entry,
    );
    access.replaceTokens(parseTokens(others.map((entry) => tokenLines(entry).join("\n")).join("\n"), "t"));
    expect(ended).toEqual(["client Unauthenticated"]);
    expect(judge(access, KvService.method.get, holder("client"))).toBe("Unauthenticated");
    stop?.();
    const text = demoted
      .flatMap((entry) => tokenLines({ ...entry, roles: entry.roles.filter(isRole) }))
      .join("\n");
    access.replaceTokens(parseTokens(text, "t"));
    expect(ended).toEqual(["client Unauthenticated", "admin PermissionDenied"]);
  });
});

function isRole(role: string): role is (typeof ACCESS_ROLES)[number] {
  return ACCESS_ROLES.some((known) => known === role);
}

describe("a file of tokens", () => {
  const good = tokenLines(createToken("one", ["client"]));
  const with_ = (line: number, text: string) => good.with(line, text).join("\n");

  test("is what `token new` prints, and holds no token", () => {
    const made = createToken("shop", ["client", "metrics"]);
    expect(made.token).toMatch(/^pct_[A-Za-z0-9_-]{43}$/);
    const text = `# ours\n${tokenLines(made).join("\n")}\n`;
    expect(text).not.toContain(made.token);
    const read = parseTokens(text, "t");
    expect(read.find(made.token)).toEqual({
      name: "shop",
      roles: ["client", "metrics"],
      sha256: made.sha256,
    });
    expect(read.find(made.sha256)).toBeUndefined();
    expect(read.find(`${made.token}x`)).toBeUndefined();
    expect(createToken("shop", ["client"]).token).not.toBe(made.token);
  });

  test.each<[string, string, RegExp]>([
    ["nothing", "", /^t: no \[\[token\]\].*token new/],
    ["no TOML", "[[token]\n", /^t, line 1, column \d+: /],
    ["a key that nobody knows", `${good.join("\n")}\n[users]\n`, /unknown key "users"/],
    ["a field that nobody knows", `${good.join("\n")}\ntoken = "x"`, /token "one": unknown key "token"/],
    ["a name with a space", with_(1, 'name = "a b"'), /name must be/],
    ["no name", with_(1, ""), /token 1: name must be/],
    ["no roles", with_(2, "roles = []"), /token "one": roles must be a list of client, metrics, admin, peer/],
    ["an unknown role", with_(2, 'roles = ["root"]'), /roles must be a list/],
    ["roles that are no list", with_(2, 'roles = "admin"'), /roles must be a list/],
    ["the token itself", with_(3, `sha256 = "pct_${"a".repeat(43)}"`), /sha256 must be the 64 hex/],
    ["the same twice", `${good.join("\n")}\n${good.join("\n")}`, /two tokens have the name "one"/],
    [
      "one token under two names",
      `${good.join("\n")}\n${with_(1, 'name = "two"')}`,
      /two tokens have the sha256/,
    ],
    ["token as a number", "token = 1", /no \[\[token\]\]/],
    ["a token that is no table", "token = [1]", /token 1 is no table/],
    [
      "too many",
      Array.from({ length: 257 }, (_, at) => tokenLines(createToken(`t${at}`, ["client"])).join("\n")).join(
        "\n",
      ),
      /257 tokens, at most 256/,
    ],
    ["a book", "#".repeat(300_000), /300000 characters/],
  ])("with %s is refused in words", (_, text, message) => {
    expect(() => parseTokens(text, "t")).toThrow(AccessConfigInvalid);
    expect(() => parseTokens(text, "t")).toThrow(message);
  });

  test("of one token holds one line", () => {
    const { token } = createToken("a", ["peer"]);
    expect(parseTokenFile(`${token}\n`, "f")).toBe(token);
    for (const text of ["", "short", `${token}\n${token}\n`, "with a space in it, of some length"]) {
      expect(() => parseTokenFile(text, "f")).toThrow(/^f: no token in it/);
    }
  });
});
