// Where calls are done and how often: at the leader, through one hop, again while an attempt is certain not to have been
// applied, and never again otherwise. The node is a stand-in whose leadership the test decides; the other nodes are real
// servers on HTTP/2.

import {
  Code,
  ConnectError,
  type ConnectRouter,
  createClient,
  createHandlerContext,
} from "@connectrpc/connect";
import { describe, expect, onTestFinished, test } from "vitest";
import { ConnectDialer } from "../../src/embed/peer-dialer.js";
import { KvService } from "../../src/gen/service_pb.js";
import { RaftNodeError, type RaftNodeErrorCode } from "../../src/node/errors.js";
import type { NodeEvents } from "../../src/node/events.js";
import { SILENT } from "../../src/node/options.js";
import { systemClock } from "../../src/node/system-clock.js";
import {
  ERROR_TABLE,
  errorDetail,
  SERVICE_REASONS,
  toConnectError,
} from "../../src/services/connect-errors.js";
import {
  FORWARDED_HEADER,
  LeaderCalls,
  type LeaderCallsOptions,
  type LeaderOperation,
} from "../../src/services/leader-calls.js";
import { listenHttp2 } from "../../src/transport/http2-server.js";

/** A node of which the test says who leads. */
class NodeStandIn {
  readonly id = 1n;
  isMember = true;
  leaderId: bigint | undefined;
  leaderAddress: string | undefined;
  reads: (() => bigint)[] = [];
  readonly #listeners = new Set<(event: NodeEvents["leader"]) => void>();

  get isLeader(): boolean {
    return this.leaderId === this.id;
  }

  lead(id: bigint | undefined, address?: string): void {
    this.leaderId = id;
    this.leaderAddress = address;
    for (const listener of [...this.#listeners]) listener({ leaderId: id, term: 1n });
  }

  on(_event: "leader", listener: (event: NodeEvents["leader"]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  async readIndex(): Promise<bigint> {
    return this.reads.shift()?.() ?? 1n;
  }
}

function setUp(options: Partial<LeaderCallsOptions> = {}) {
  const node = new NodeStandIn();
  const dialer = new ConnectDialer();
  onTestFinished(() => dialer.close());
  const calls = new LeaderCalls({ node, dialer, clock: systemClock, random: () => 0, ...options });
  return { node, calls, dialer };
}

function contextOf(options: { timeoutMs?: number; forwarded?: boolean; signal?: AbortSignal } = {}) {
  return createHandlerContext({
    service: KvService,
    method: KvService.method.set,
    protocolName: "connect",
    requestMethod: "POST",
    url: "http://localhost/",
    ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    ...(options.signal === undefined ? {} : { requestSignal: options.signal }),
    requestHeader: options.forwarded === true ? { [FORWARDED_HEADER]: "2" } : {},
  });
}

/** Here: whatever `here` does. There: KvService.set of another node. */
function operation(here: () => Promise<string> | string): LeaderOperation<string> {
  return {
    here: async () => here(),
    there: async (transport, options) => {
      const { revision } = await createClient(KvService, transport).set({ key: "k" }, options);
      return `there, revision ${revision}`;
    },
  };
}

/** Another node, whose `set` does what `steps` say, one after the other, and then succeeds. */
async function otherNode(steps: readonly (() => unknown)[] = []) {
  const seen: Headers[] = [];
  const routes = (router: ConnectRouter) => {
    router.service(KvService, {
      set: async (_, { requestHeader }) => {
        const step = steps[seen.length];
        seen.push(requestHeader);
        await step?.();
        return { revision: 5n };
      },
    });
  };
  const listener = await listenHttp2({
    host: "127.0.0.1",
    port: 0,
    routes,
    logger: SILENT,
    shutdownGraceMs: 50,
  });
  onTestFinished(() => listener.close());
  return { seen, listener, address: `127.0.0.1:${listener.address.port}` };
}

/** Answers as another node would. */
function answers(code: RaftNodeErrorCode, leaderAddress?: string): () => never {
  return () => {
    throw toConnectError(new RaftNodeError(code, `says ${code}`), "write", {
      leaderId: undefined,
      leaderAddress,
    });
  };
}

async function reasonOf(call: Promise<unknown>): Promise<string | undefined> {
  try {
    await call;
  } catch (error) {
    return errorDetail(error)?.reason ?? `no detail: ${String(error)}`;
  }
  throw new Error("the call succeeded");
}

describe("a write", () => {
  test("is done here when this node leads", async () => {
    const { node, calls } = setUp();
    node.lead(1n);
    expect(
      await calls.write(
        contextOf(),
        operation(() => "here"),
      ),
    ).toBe("here");
  });

  test("is done at the leader, in one hop that carries its mark and what is left of the deadline", async () => {
    const { node, calls } = setUp();
    const leader = await otherNode();
    node.lead(2n, leader.address);
    expect(
      await calls.write(
        contextOf({ timeoutMs: 3_000 }),
        operation(() => "here"),
      ),
    ).toBe("there, revision 5");
    expect(leader.seen.map((headers) => headers.get(FORWARDED_HEADER))).toEqual(["1"]);
    expect(Number(leader.seen[0]?.get("connect-timeout-ms"))).toBeLessThanOrEqual(2_900);
  });

  test("takes with it what its client showed, and nothing when its client showed nothing", async () => {
    const { node, calls } = setUp();
    const leader = await otherNode();
    node.lead(2n, leader.address);
    const call = operation(() => "here");
    const shown = contextOf();
    shown.requestHeader.set("authorization", "Bearer of-the-client");
    await calls.write(shown, call);
    await calls.write(contextOf(), call);
    expect(leader.seen.map((headers) => headers.get("authorization"))).toEqual([
      "Bearer of-the-client",
      null,
    ]);
  });

  test("to a node without a cluster is refused at once, and so is a linearizable read; it waits for nobody", async () => {
    const { node, calls } = setUp();
    node.isMember = false;
    const asked = () => [
      reasonOf(
        calls.write(
          contextOf(),
          operation(() => "here"),
        ),
      ),
      reasonOf(calls.linearize(contextOf())),
    ];
    expect(await Promise.all(asked())).toEqual(["notMember", "notMember"]);
    expect(node.listeners).toBe(0);
    // What is being added hears of a leader before it knows that it is a member.
    const leader = await otherNode();
    node.lead(2n, leader.address);
    expect(
      await calls.write(
        contextOf(),
        operation(() => "here"),
      ),
    ).toBe("there, revision 5");
  });

  test("that was forwarded is refused by a node that does not lead", async () => {
    const { node, calls } = setUp();
    node.lead(2n, "127.0.0.1:1");
    expect(
      await reasonOf(
        calls.write(
          contextOf({ forwarded: true }),
          operation(() => "here"),
        ),
      ),
    ).toBe("notLeader");
  });

  test("waits for a leader, and goes on as soon as one is known", async () => {
    const { node, calls } = setUp({ random: () => 0.999 });
    const written = calls.write(
      contextOf(),
      operation(() => "here"),
    );
    await expect.poll(() => node.listeners).toBe(1);
    node.lead(1n);
    expect(await written).toBe("here");
    expect(node.listeners).toBe(0);
  });

  test("that finds no leader in time says so, shortly before its client stops listening", async () => {
    const { calls } = setUp();
    const error = await calls
      .write(
        contextOf({ timeoutMs: 200 }),
        operation(() => "here"),
      )
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ConnectError);
    expect(error).toMatchObject({
      code: Code.Unavailable,
      rawMessage: expect.stringMatching(/^no leader took the call within \d+ ms: no leader is known$/),
    });
    expect(errorDetail(error)?.reason).toBe("noLeader");
  });

  test("follows the hint of a node that no longer leads", async () => {
    const { node, calls } = setUp();
    const leader = await otherNode();
    const former = await otherNode([answers("notLeader", leader.address)]);
    node.lead(2n, former.address);
    expect(
      await calls.write(
        contextOf(),
        operation(() => "here"),
      ),
    ).toBe("there, revision 5");
    expect([former.seen.length, leader.seen.length]).toEqual([1, 1]);
  });

  test("is tried again when the leader's connection was refused: nothing was sent", async () => {
    const { node, calls } = setUp();
    const gone = await otherNode();
    await gone.listener.close();
    node.lead(2n, gone.address);
    const written = calls.write(
      contextOf(),
      operation(() => "here"),
    );
    await expect.poll(() => node.listeners).toBe(1);
    node.lead(1n);
    expect(await written).toBe("here");
  });

  test("that was cut off on its way is unknown, and not tried again", async () => {
    const { node, calls } = setUp();
    let cut = () => {};
    const leader = await otherNode([() => new Promise<void>(() => cut())]);
    cut = () => void leader.listener.close();
    node.lead(2n, leader.address);
    expect(
      await reasonOf(
        calls.write(
          contextOf(),
          operation(() => "here"),
        ),
      ),
    ).toBe("outcomeUnknown");
    expect(leader.seen.length).toBe(1);
  });

  test("is tried again after every error that passes, and after no other, here and there alike", async () => {
    for (const [reason, { passes }] of Object.entries(ERROR_TABLE)) {
      if (reason === "internal" || SERVICE_REASONS.some((known) => known === reason)) continue;
      const code = codeOf(reason);
      const local = setUp();
      local.node.lead(1n);
      let attempts = 0;
      const here = () => {
        attempts += 1;
        if (attempts === 1) throw new RaftNodeError(code, "first attempt");
        return "here";
      };
      const outcome = await local.calls.write(contextOf(), operation(here)).catch(() => "failed");
      expect([reason, outcome, attempts]).toEqual([reason, ...(passes ? ["here", 2] : ["failed", 1])]);

      const remote = setUp();
      const leader = await otherNode([answers(code)]);
      remote.node.lead(2n, leader.address);
      const answer = await remote.calls
        .write(
          contextOf(),
          operation(() => "here"),
        )
        .catch(() => "failed");
      const expected = passes ? ["there, revision 5", 2] : ["failed", 1];
      expect([reason, answer, leader.seen.length]).toEqual([reason, ...expected]);
    }
  });

  test("is refused at once when too many wait for a leader already", async () => {
    const { node, calls } = setUp({ maxWaiting: 1, random: () => 0.999 });
    const first = calls.write(
      contextOf(),
      operation(() => "here"),
    );
    await expect.poll(() => node.listeners).toBe(1);
    expect(
      await reasonOf(
        calls.write(
          contextOf(),
          operation(() => "here"),
        ),
      ),
    ).toBe("inboxFull");
    node.lead(1n);
    expect(await first).toBe("here");
  });
});

describe("who gave a call up", () => {
  const hanging = operation(() => Promise.reject(new RaftNodeError("aborted", "the signal fired")));

  test.each([
    ["the client", new ConnectError("gone", Code.Canceled), "aborted"],
    ["the client's deadline", new ConnectError("late", Code.DeadlineExceeded), "deadlineExceeded"],
    ["this node, because it stops", new ConnectError("stopping", Code.Unavailable), "nodeStopped"],
  ])("%s", async (_, cause, reason) => {
    const { node, calls } = setUp();
    node.lead(1n);
    const controller = new AbortController();
    controller.abort(cause);
    expect(await reasonOf(calls.write(contextOf({ signal: controller.signal }), hanging))).toBe(reason);
  });
});

describe("a read", () => {
  test("asks for an index again when leadership was lost meanwhile", async () => {
    const { node, calls } = setUp();
    const fails = (code: RaftNodeErrorCode) => () => {
      throw new RaftNodeError(code, "not now");
    };
    node.reads = [fails("readDropped"), fails("noLeader"), () => 9n];
    await calls.linearize(contextOf());
    expect(node.reads).toEqual([]);
  });
});

describe("an orderly stop", () => {
  test("refuses new calls as not applied, and waits for those under way", async () => {
    const { node, calls } = setUp();
    node.lead(1n);
    let finish = () => {};
    const slow = calls.write(
      contextOf(),
      operation(() => new Promise((resolve) => (finish = () => resolve("done")))),
    );
    let drained = false;
    const draining = calls.drain(10_000).then(() => {
      drained = true;
    });
    expect(
      await reasonOf(
        calls.write(
          contextOf(),
          operation(() => "here"),
        ),
      ),
    ).toBe("shuttingDown");
    expect(await reasonOf(calls.linearize(contextOf()))).toBe("shuttingDown");
    expect(drained).toBe(false);
    finish();
    expect(await slow).toBe("done");
    await draining;
  });
});

function codeOf(reason: string): RaftNodeErrorCode {
  const codes: readonly RaftNodeErrorCode[] = [
    "notLeader",
    "proposalDropped",
    "outcomeUnknown",
    "deadlineExceeded",
    "aborted",
    "nodeStopped",
    "inboxFull",
    "tooLarge",
    "noSpace",
    "invalidArgument",
    "membershipRefused",
    "noLeader",
    "readDropped",
  ];
  const code = codes.find((known) => known === reason);
  if (code === undefined) throw new Error(`${reason} is no code of RaftNodeError`);
  return code;
}

test("calls that are passed on are counted by node and RPC, those that fail by class as well", async () => {
  const other = await otherNode([answers("noSpace")]);
  const { node, calls, dialer } = setUp();
  node.leaderAddress = other.address;
  const forwarded = operation(() => "here");
  await calls.write(contextOf(), forwarded).catch(() => {});
  await calls.write(contextOf(), forwarded);
  const [counted, ...more] = dialer.metrics();
  expect(more).toEqual([]);
  expect(counted).toMatchObject({
    address: other.address,
    rpc: "Set",
    calls: 2,
    failures: { rejected: 1 },
    inFlight: 0,
    duration: { count: 1 },
  });
});
