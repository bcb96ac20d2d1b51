// The table of errors: every code of the runtime becomes a Connect error with a detail, and docs/errors.md says of each
// exactly what the code does.

import { readFileSync } from "node:fs";
import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { ErrorDetail_Outcome, ErrorDetailSchema } from "../../src/gen/service_pb.js";
import { RaftNodeError, type RaftNodeErrorCode } from "../../src/node/errors.js";
import {
  ERROR_TABLE,
  type ErrorReason,
  errorDetail,
  isKnownReason,
  NO_LEADER_ADVICE_MS,
  passesByItself,
  RETRY_ADVICE,
  SERVICE_REASONS,
  ServiceError,
  toConnectError,
} from "../../src/services/connect-errors.js";

function runtimeReason(reason: ErrorReason): RaftNodeErrorCode {
  const isForeign = reason === "internal" || SERVICE_REASONS.some((name) => name === reason);
  const codes = Object.keys(ERROR_TABLE).filter(
    (name): name is RaftNodeErrorCode => name === reason && !isForeign,
  );
  const [code] = codes;
  if (code === undefined) throw new Error(`${reason} is none of the runtime's`);
  return code;
}

const LEADER = { leaderId: 3n, leaderAddress: "127.0.0.1:7003" };

describe("docs/errors.md", () => {
  test("lists exactly the reasons of the table, each with its code and outcome", () => {
    const text = readFileSync(new URL("../../docs/errors.md", import.meta.url), "utf8");
    const section = text.slice(text.indexOf("## Reasons"), text.indexOf("## From RaftNode"));
    const rows = [...section.matchAll(/^\| `(\w+)` \| `(\w+)` \| `(\w+)` \|/gm)];
    const documented = rows.map(([, reason = "", code, outcome]) => [reason, { code, outcome }]);
    const actual = Object.entries(ERROR_TABLE).map(([reason, { code, outcome }]) => [
      reason,
      { code: Code[code], outcome: ErrorDetail_Outcome[outcome] },
    ]);
    expect(Object.fromEntries(documented)).toEqual(Object.fromEntries(actual));
    expect(documented).toHaveLength(actual.length);
  });
});

describe("when to try again", () => {
  test("is said where waiting helps, and docs/errors.md says the same", () => {
    const text = readFileSync(new URL("../../docs/errors.md", import.meta.url), "utf8");
    const section = text.slice(text.indexOf("## When to try again"), text.indexOf("## From RaftNode"));
    const documented = [...section.matchAll(/^\| (`.*) \| ([\d,]+)/gm)].flatMap(
      ([, reasons = "", number = ""]) =>
        [...reasons.matchAll(/`(\w+)`/g)].map(([, reason = ""]) => [reason, Number(number.replace(",", ""))]),
    );
    expect(Object.fromEntries(documented)).toEqual({ ...RETRY_ADVICE, notLeader: NO_LEADER_ADVICE_MS });
    const adviceFor = (error: unknown, leader: Parameters<typeof toConnectError>[2]) =>
      errorDetail(received(toConnectError(error, "read", leader)))?.retryAfterMs;
    expect(adviceFor(new RaftNodeError("noSpace", ""), LEADER)).toBe(5_000);
    expect(adviceFor(new RaftNodeError("tooLarge", ""), LEADER)).toBe(0);
    expect(adviceFor(new RaftNodeError("notLeader", ""), LEADER)).toBe(0);
    const nobody = { leaderId: undefined, leaderAddress: undefined };
    expect(adviceFor(new RaftNodeError("notLeader", ""), nobody)).toBe(NO_LEADER_ADVICE_MS);
  });
});

describe("what a client gets", () => {
  test.each(Object.keys(ERROR_TABLE).filter((reason) => reason !== "internal"))(
    "%s carries its reason, its outcome and the leader",
    (reason) => {
      if (!isKnownReason(reason) || reason === "internal") throw new Error("not in the table");
      const known = SERVICE_REASONS.find((name) => name === reason);
      const thrown =
        known === undefined
          ? new RaftNodeError(runtimeReason(reason), "in words")
          : new ServiceError(known, "in words");
      const error = toConnectError(thrown, "write", LEADER);
      expect(error.code).toBe(ERROR_TABLE[reason].code);
      expect(error.rawMessage).toBe(thrown.message);
      expect(errorDetail(received(error))).toMatchObject({
        reason,
        leaderId: 3n,
        leaderAddress: "127.0.0.1:7003",
        outcome: ERROR_TABLE[reason].outcome,
      });
    },
  );

  test("a read's error says nothing about an outcome", () => {
    const error = toConnectError(new RaftNodeError("deadlineExceeded", "late"), "read", LEADER);
    expect(errorDetail(received(error))?.outcome).toBe(ErrorDetail_Outcome.UNSPECIFIED);
  });

  test("what nobody foresaw is internal, with the words of what was thrown", () => {
    const error = toConnectError(new TypeError("x is not a function"), "write", {
      leaderId: undefined,
      leaderAddress: undefined,
    });
    expect(error.code).toBe(Code.Internal);
    expect(error.rawMessage).toBe("internal error: x is not a function");
    expect(errorDetail(received(error))).toMatchObject({
      reason: "internal",
      leaderId: 0n,
      leaderAddress: "",
    });
  });

  test("the answer of another node is passed on without the headers that it came with", () => {
    const answer = new ConnectError("told", Code.FailedPrecondition, { "content-length": "309" }, [
      {
        desc: ErrorDetailSchema,
        value: { reason: "membershipRefused", outcome: ErrorDetail_Outcome.NOT_APPLIED },
      },
    ]);
    const error = toConnectError(received(answer), "write", LEADER);
    expect([error.rawMessage, error.code]).toEqual(["told", Code.FailedPrecondition]);
    expect([...error.metadata.keys()]).toEqual([]);
    expect(errorDetail(received(error))).toMatchObject({ reason: "membershipRefused", leaderId: 0n });
  });
});

describe("what may be tried again", () => {
  test("is only what was certainly not applied", () => {
    for (const [reason, row] of Object.entries(ERROR_TABLE)) {
      if (row.passes) expect([reason, row.outcome]).toEqual([reason, ErrorDetail_Outcome.NOT_APPLIED]);
    }
  });

  test("is not a push-back, and not what another server said", () => {
    const dropped = (reason: "transferInProgress" | "uncommittedLimit") =>
      new RaftNodeError("proposalDropped", reason, { reason });
    expect(passesByItself(dropped("transferInProgress"))).toBe(true);
    expect(passesByItself(dropped("uncommittedLimit"))).toBe(false);
    expect(passesByItself(new ConnectError("from a proxy", Code.Unavailable))).toBe(false);
    expect(passesByItself(new Error("noLeader"))).toBe(false);
  });
});

/** As it arrives at a client: details are bytes then. */
function received(error: ConnectError): ConnectError {
  const copy = new ConnectError(error.rawMessage, error.code, error.metadata);
  copy.details = error.details;
  return copy;
}
