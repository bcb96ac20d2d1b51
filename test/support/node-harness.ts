// A group of real RaftNodes on ports in memory and a clock that the test moves.

import { create } from "@bufbuild/protobuf";
import { newConfState } from "../../src/core/messages.js";
import type { NodeId } from "../../src/core/types.js";
import { type MembershipRecord, MembershipRecordSchema } from "../../src/gen/records_pb.js";
import { RaftNodeError, type RaftNodeErrorCode } from "../../src/node/errors.js";
import { isMember } from "../../src/node/membership.js";
import type { RaftNodeOptions } from "../../src/node/options.js";
import type { Logger } from "../../src/node/ports.js";
import { RaftNode } from "../../src/node/raft-node.js";
import { ManualClock } from "./node-clock.js";
import { MemoryLog, MemorySnapshots } from "./node-log.js";
import { bytesOf, NotebookMachine, textOf } from "./node-machine.js";
import { MemoryNetwork } from "./node-network.js";

export const TICK_MS = 100;
export const ELECTION_MS = 10 * TICK_MS;

export type TestOptions = Partial<
  Pick<RaftNodeOptions, "limits" | "compaction" | "raft" | "tickIntervalMs" | "leaseReads">
>;

export interface Station {
  readonly id: NodeId;
  readonly log: MemoryLog;
  readonly snapshots: MemorySnapshots;
  readonly machine: NotebookMachine;
  readonly node: RaftNode;
  /** Everything the node did with its ports, in order. */
  readonly events: string[];
  readonly warnings: string[];
}

export const addressOf = (id: NodeId): string => `node-${id}:7000`;

export class Group {
  readonly clock = new ManualClock();
  readonly network = new MemoryNetwork(this.clock);
  readonly #stations = new Map<NodeId, Station>();
  #draw = 0;

  private constructor(private readonly options: TestOptions) {}

  /** A group of these voters, all started, without a leader yet. */
  static async of(ids: readonly NodeId[], options: TestOptions = {}): Promise<Group> {
    const group = new Group(options);
    for (const id of ids) await group.add(id, bornWith(ids));
    return group;
  }

  /** A group with a leader: the first of these ids, because it alone is given time to campaign. */
  static async led(ids: readonly NodeId[], options: TestOptions = {}): Promise<Group> {
    const group = await Group.of(ids, options);
    await group.elect();
    return group;
  }

  at(id: NodeId): Station {
    const station = this.#stations.get(id);
    if (station === undefined) throw new Error(`there is no node ${id}`);
    return station;
  }

  node(id: NodeId): RaftNode {
    return this.at(id).node;
  }

  get stations(): readonly Station[] {
    return [...this.#stations.values()];
  }

  /** Starts a node; without a membership it waits to be added. */
  async add(id: NodeId, membership?: MembershipRecord, options: TestOptions = {}): Promise<Station> {
    const snapshots = new MemorySnapshots(`s${id}`);
    const log = MemoryLog.born(this.clock, snapshots, membership);
    return this.#start(id, log, snapshots, new NotebookMachine(), options);
  }

  /** Kills the node: what was not durable is gone. */
  crash(id: NodeId): Station {
    const station = this.at(id);
    this.network.disconnect(id);
    // Nothing of the dead process reaches the disk any more.
    station.log.fail(new Error("crashed"));
    this.#stations.delete(id);
    return station;
  }

  async restart(crashed: Station, options: TestOptions = {}): Promise<Station> {
    return this.#start(
      crashed.id,
      crashed.log.afterCrash(),
      crashed.snapshots,
      crashed.machine.afterCrash(),
      options,
    );
  }

  /** Lets time pass until a leader is known to all of its members that are up. Returns it. */
  async elect(): Promise<Station> {
    for (let ticks = 0; ticks < 200; ticks += 1) {
      const leader = this.leader();
      if (leader !== undefined && this.membersOf(leader).every(({ node }) => node.leaderId === leader.id))
        return leader;
      await this.clock.advance(TICK_MS);
    }
    const known = this.stations.map(({ id, node, warnings }) => {
      const { state, role, term, leaderId, lastIndex, commit, applied } = node.status();
      return `${id}: ${state} ${role} term=${term} leader=${leaderId} last=${lastIndex} commit=${commit} applied=${applied} ${warnings.at(-1)}`;
    });
    throw new Error(`no leader was elected\n${known.join("\n")}`);
  }

  /** The members that are up, as this one knows them. */
  membersOf({ node }: Station): readonly Station[] {
    return this.stations.filter(({ id }) => isMember(node.membership, id));
  }

  leader(): Station | undefined {
    const leaders = this.stations.filter(({ node }) => node.isLeader);
    return leaders.reduce<Station | undefined>(
      (best, next) => (best === undefined || next.node.status().term > best.node.status().term ? next : best),
      undefined,
    );
  }

  /** Proposes on a node and lets the group work until the answer is there. */
  async propose(id: NodeId, text: string): Promise<string> {
    const answer = this.node(id).propose(bytesOf(text));
    await this.settled(answer);
    return textOf((await answer).result);
  }

  /** Lets the group work without time passing, then a few ticks, until the promise has ended. */
  async settled(promise: Promise<unknown>, ticks = 100): Promise<void> {
    let ended = false;
    promise.then(
      () => {
        ended = true;
      },
      () => {
        ended = true;
      },
    );
    await this.clock.settle();
    for (let tick = 0; tick < ticks && !ended; tick += 1) await this.clock.advance(TICK_MS);
  }

  async stop(): Promise<void> {
    for (const { node } of this.stations) {
      const stopped = node.stop({ handOverMs: 1 });
      await this.settled(stopped);
      await stopped;
    }
  }

  async #start(
    id: NodeId,
    log: MemoryLog,
    snapshots: MemorySnapshots,
    machine: NotebookMachine,
    options: TestOptions,
  ): Promise<Station> {
    const events: string[] = [];
    const warnings: string[] = [];
    const record = (event: string) => events.push(event);
    const observedLog = log.observed(record);
    const observedMachine = machine.afterCrash(record);
    const starting = RaftNode.start({
      id,
      clusterId: "test",
      log: observedLog,
      snapshots,
      stateMachine: observedMachine,
      transport: this.network.connect(snapshots, record),
      clock: this.clock,
      logger: loggerTo(warnings),
      // Spread evenly and never twice the same in a row: elections end, and always the same way.
      randomInt: (min, max) => min + ((this.#draw++ * 7) % (max - min)),
      tickIntervalMs: TICK_MS,
      ...this.options,
      ...options,
    });
    await this.settled(starting, 0);
    const node = await starting;
    const station: Station = {
      id,
      log: observedLog,
      snapshots,
      machine: observedMachine,
      node,
      events,
      warnings,
    };
    this.#stations.set(id, station);
    return station;
  }
}

export function bornWith(ids: readonly NodeId[]): MembershipRecord {
  return create(MembershipRecordSchema, {
    confState: newConfState({ voters: [...ids] }),
    index: 1n,
    addresses: ids.map((id) => ({ id, address: addressOf(id) })),
  });
}

/** The error that a call ended with. */
export async function errorOf(promise: Promise<unknown>): Promise<RaftNodeError> {
  const error: unknown = await promise.then(
    () => "nothing went wrong",
    (failure: unknown) => failure,
  );
  if (error instanceof RaftNodeError) return error;
  throw new Error(`the call did not end with a RaftNodeError: ${String(error)}`);
}

export async function codeOf(promise: Promise<unknown>): Promise<RaftNodeErrorCode> {
  return (await errorOf(promise)).code;
}

function loggerTo(warnings: string[]): Logger {
  return {
    debug: () => {},
    info: () => {},
    warn: (_fields, message) => warnings.push(message),
    error: (fields, message) => warnings.push(`${message} ${"error" in fields ? String(fields.error) : ""}`),
  };
}
