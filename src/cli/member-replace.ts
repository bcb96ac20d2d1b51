// Replaces a member by a new node without ever being a vote short: the new one first learns, then votes, then the old
// one goes. Each step looks at what is there, so that a replacement that was cut short is finished by repeating it.

import { setTimeout as sleep } from "node:timers/promises";
import { type MetricsResponse, Role } from "../gen/service_pb.js";
import type { ClusterMembers, PlacementClient } from "../placement/client.js";
import { PlacementError } from "../placement/client-error.js";
import { CommandError, ExitStatus } from "./exit-status.js";

export interface Replacement {
  readonly oldId: bigint;
  readonly newId: bigint;
  readonly address: string;
  /** How long the new node may take to catch up. */
  readonly waitMs: number;
}

export interface ReplaceObserver {
  /** A step is done: a sentence without a full stop. */
  done(step: string): void;
  /** What is being waited for. */
  waiting(for_: string): void;
}

const LOOK_EVERY_MS = 250;
/** Longer than an election takes. */
const MAX_LOOKS = 40;
const ANSWER_DEADLINE_MS = 2_000;

/** @throws PlacementError of the step that failed; CommandError when the new node does not catch up in time */
export async function replaceMember(
  client: PlacementClient,
  endpoints: readonly string[],
  replacement: Replacement,
  observer: ReplaceObserver,
): Promise<ClusterMembers> {
  const { oldId, newId, address } = replacement;
  let members = await membersAtLeader(client, endpoints);
  const isMember = (id: bigint): boolean => members.members.some((member) => member.id === id);
  const newcomer = members.members.find(({ id }) => id === newId);
  if (newcomer === undefined) {
    if (!isMember(oldId)) {
      throw new CommandError(ExitStatus.failed, `node ${oldId} is no member: there is nothing to replace`);
    }
    members = await client.addLearner(newId, address);
    observer.done(`node ${newId} is added as a learner at ${address}`);
  } else if (newcomer.address !== address) {
    throw new CommandError(
      ExitStatus.failed,
      `node ${newId} is a member already, at ${newcomer.address}: choose an id that no node of this cluster ever had`,
    );
  }
  if (newcomer === undefined || newcomer.learner) {
    members = await promoteWhenReady(client, replacement, observer);
    observer.done(`node ${newId} has caught up and is a voter`);
  }
  if (isMember(oldId)) {
    if ((await askLeader(client, endpoints)).id === oldId) {
      await client.transfer(newId);
      observer.done(`node ${newId} leads in place of node ${oldId}`);
    }
    members = await client.remove(oldId);
    observer.done(`node ${oldId} is removed: stop it, and never start it again`);
  }
  return members;
}

/** Another node may not know of the newest change yet, and one that waits to be added knows nothing at all. */
async function membersAtLeader(
  client: PlacementClient,
  endpoints: readonly string[],
): Promise<ClusterMembers> {
  const { membership } = await askLeader(client, endpoints);
  const { members = [], index = 0n, joint = false } = membership ?? {};
  return { members, index, joint };
}

/** @throws CommandError when no leader is found */
async function askLeader(client: PlacementClient, endpoints: readonly string[]): Promise<MetricsResponse> {
  for (let look = 0; look < MAX_LOOKS; look += 1) {
    const answers = await ask(client, endpoints);
    const leader = newestLeader(answers) ?? newestLeader(await ask(client, leaderAddresses(answers)));
    if (leader !== undefined) return leader;
    await sleep(LOOK_EVERY_MS);
  }
  throw new CommandError(
    ExitStatus.unavailable,
    `no leader was found through ${endpoints.join(", ")}: see what \`placement-center doctor\` says`,
    "noLeader",
  );
}

async function ask(client: PlacementClient, endpoints: readonly string[]): Promise<MetricsResponse[]> {
  const asked = await Promise.allSettled(
    endpoints.map((endpoint) => client.metrics(endpoint, { deadlineMs: ANSWER_DEADLINE_MS })),
  );
  return asked.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
}

function newestLeader(answers: readonly MetricsResponse[]): MetricsResponse | undefined {
  const leaders = answers.filter(({ role }) => role === Role.LEADER);
  return leaders.sort((a, b) => (a.term < b.term ? 1 : -1))[0];
}

/** Where the leader is, as those say who do not lead. */
function leaderAddresses(answers: readonly MetricsResponse[]): string[] {
  const addresses = answers.flatMap(({ leaderId, membership }) =>
    (membership?.members ?? []).filter(({ id }) => id === leaderId).map(({ address }) => address),
  );
  return [...new Set(addresses)];
}

/** The leader refuses while the learner lags: asking it is the surest way to know. */
async function promoteWhenReady(
  client: PlacementClient,
  { newId, waitMs }: Replacement,
  observer: ReplaceObserver,
): Promise<ClusterMembers> {
  const untilMs = performance.now() + waitMs;
  for (;;) {
    try {
      return await client.promote(newId);
    } catch (error) {
      if (!(error instanceof PlacementError) || error.reason !== "membershipRefused") throw error;
      observer.waiting(error.message);
      if (performance.now() >= untilMs) {
        throw new CommandError(
          ExitStatus.failed,
          `node ${newId} did not catch up within ${waitMs} ms (${error.message}); it stays a learner, and nothing was removed: repeat this command to go on`,
          "learnerLags",
        );
      }
      await sleep(LOOK_EVERY_MS);
    }
  }
}
