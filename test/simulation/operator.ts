// Whoever runs the cluster: adds, promotes, removes and replaces members, hands leadership over. Also the one that
// mends a group after a machine was lost.

import { RaftNodeError } from "../../src/node/errors.js";
import { isJoint, isMember, isVoter, type Membership, memberIds } from "../../src/node/membership.js";
import type { MembershipChange } from "../../src/node/membership-change.js";
import type { RaftNode } from "../../src/node/raft-node.js";
import { addressOf, type Host } from "./host.js";
import type { Random } from "./random.js";
import type { Scheduler } from "./scheduler.js";
import type { Trace } from "./trace.js";

const MAX_MEMBERS = 6;
const CHANGE_MS = 2_000;

export interface OperatorWorld {
  readonly scheduler: Scheduler;
  readonly trace: Trace;
  readonly hosts: () => readonly Host[];
  /** A new machine, blank and running. */
  readonly addHost: () => Host;
}

export class Operator {
  #changing = 0;

  constructor(
    private readonly world: OperatorWorld,
    private readonly random: Random,
  ) {}

  /** Something was asked lately that may still happen. */
  get isChanging(): boolean {
    return this.#changing > 0;
  }

  /** As it sees itself; more than one may. */
  leader(): Host | undefined {
    const leaders = this.world
      .hosts()
      .filter(({ up, process }) => up?.node.isLeader === true && process?.frozen !== true);
    return leaders.sort((a, b) =>
      Number((b.up?.node.status().term ?? 0n) - (a.up?.node.status().term ?? 0n)),
    )[0];
  }

  /** One change of membership, drawn by chance. */
  changeSomething(): void {
    const leader = this.leader();
    const membership = leader?.up?.node.membership;
    if (leader === undefined || membership === undefined || isJoint(membership)) return;
    // It leads by the snapshot that its state machine is still taking in.
    if (membership.voters.length === 0) return;
    const change = this.#drawChange(membership);
    if (change !== undefined) this.#submit(leader, change, this.random.chance(0.2));
  }

  transfer(): void {
    const leader = this.leader();
    const voters = leader?.up?.node.membership.voters ?? [];
    if (leader === undefined || voters.length === 0) return;
    const to = this.random.pick(voters);
    const asked = this.random.chance(0.7) ? leader : this.random.pick(this.world.hosts());
    this.#run(asked, `transfer to ${to}`, (node) => node.transferLeadership(to, { deadlineMs: 1_000 }));
  }

  transferTo(leader: Host, to: bigint): void {
    this.#run(leader, `transfer to ${to}`, (node) => node.transferLeadership(to, { deadlineMs: 1_000 }));
  }

  /** Puts a new machine in a voter's place, in one joint change. */
  replace(leader: Host, voter: bigint): Host {
    const host = this.#spare();
    this.#submit(
      leader,
      [
        { type: "remove", id: voter },
        { type: "addVoter", id: host.id, address: addressOf(host.id) },
      ],
      true,
    );
    return host;
  }

  addVoter(leader: Host): Host {
    const host = this.world.addHost();
    this.#submit(leader, [{ type: "addVoter", id: host.id, address: addressOf(host.id) }], true);
    return host;
  }

  requestSnapshot(): void {
    const followers = this.world.hosts().filter(({ up }) => up !== undefined && !up.node.isLeader);
    if (followers.length === 0) return;
    this.#run(this.random.pick(followers), "request a snapshot", (node) => node.requestSnapshot());
  }

  /** Takes the next step towards a group without lost machines. True: there is none left to take. */
  mend(): boolean {
    const leader = this.leader();
    const membership = leader?.up?.node.membership;
    if (leader === undefined || membership === undefined || isJoint(membership)) return false;
    if (membership.voters.length === 0) return false;
    const lost = this.world.hosts().filter(({ id, state }) => state === "lost" && isMember(membership, id));
    const gone = memberIds(membership).filter((id) => !this.world.hosts().some((host) => host.id === id));
    const first = lost[0]?.id ?? gone[0];
    if (first === undefined) return true;
    if (this.isChanging) return false;
    const voters = membership.voters.filter((id) => id !== first);
    if (voters.length === 0) return false;
    const change: MembershipChange = [{ type: "remove", id: first }];
    if (!isVoter(membership, first) || membership.voters.length > 3) this.#submit(leader, change, true);
    else this.#submit(leader, [...change, this.#newLearner()], true);
    return false;
  }

  #drawChange(membership: Membership): MembershipChange | undefined {
    const { voters, learners } = membership;
    const members = memberIds(membership);
    const draw = this.random.float();
    const learner = learners.length === 0 ? undefined : this.random.pick(learners);
    if (draw < 0.3 && learner !== undefined) return [{ type: "promote", id: learner }];
    if (draw < 0.45 && members.length < MAX_MEMBERS) return [this.#newLearner()];
    if (draw < 0.55 && members.length < MAX_MEMBERS) return [this.#newVoter()];
    if (draw < 0.7 && members.length > 2) return [{ type: "remove", id: this.random.pick(members) }];
    if (draw < 0.85 && voters.length > 1)
      return [{ type: "remove", id: this.random.pick(voters) }, this.#newVoter()];
    if (draw < 0.9 && learner !== undefined && voters.length > 1) {
      return [
        { type: "promote", id: learner },
        { type: "remove", id: this.random.pick(voters) },
      ];
    }
    const id = this.random.pick(members);
    return [{ type: "updateAddress", id, address: `moved-${id}-${this.random.int(0, 9)}:7000` }];
  }

  #newLearner(): MembershipChange[number] {
    const { id } = this.#spare();
    return { type: "addLearner", id, address: addressOf(id) };
  }

  #newVoter(): MembershipChange[number] {
    const { id } = this.#spare();
    return { type: "addVoter", id, address: addressOf(id) };
  }

  /** A machine that is running and in no membership, or a new one. */
  #spare(): Host {
    const known = this.leader()?.up?.node.membership;
    const waiting = this.world
      .hosts()
      .find(
        ({ up }) =>
          up !== undefined &&
          up.node.membership.index === 0n &&
          known !== undefined &&
          !isMember(known, up.run.id),
      );
    return waiting ?? this.world.addHost();
  }

  #submit(leader: Host, change: MembershipChange, force: boolean): void {
    const words = change.map((step) => `${step.type} ${step.id}`).join(", ");
    this.#changing += 1;
    this.#run(leader, words, (node) => node.changeMembership(change, { deadlineMs: CHANGE_MS, force }));
    this.world.scheduler.after(2 * CHANGE_MS, undefined, () => {
      this.#changing -= 1;
    });
  }

  #run(host: Host, words: string, ask: (node: RaftNode) => Promise<unknown>): void {
    const { trace, scheduler } = this.world;
    const { up } = host;
    if (up === undefined) return;
    trace.add("operator", `asks node ${host.id}: ${words}`);
    scheduler.soon(up.process, () => {
      ask(up.node).then(
        () => trace.add("operator", `done: ${words}`),
        (error: unknown) => {
          if (!(error instanceof RaftNodeError)) throw error;
          trace.add("operator", `${error.code}: ${words}`);
        },
      );
    });
  }
}
