// Membership by RaftAdminService, asked of real nodes over real sockets in both protocols: what is wanted comes about in
// one change, what would be dangerous or a typing error is refused with the reason, and `force` overrides.

import { createClient } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { RaftAdminService } from "../../src/gen/service_pb.js";
import {
  addressesFor,
  allSay,
  leaderOf,
  PATIENCE,
  PROTOCOLS,
  refusalOf,
  startGroup,
  startWords,
  TICK_MS,
  temporaryFolder,
  transportTo,
} from "./nodes.js";

describe.each(PROTOCOLS)("membership over %s", (protocol) => {
  test("goes from one member to three and back to one, asked of any node", async () => {
    const { addresses, leader } = await startGroup(1, 2);
    const [one, two, three] = addresses;
    if (one === undefined || two === undefined || three === undefined) throw new Error("three were made");
    const joining = await Promise.all([two, three].map((at) => startWords(at)));
    await leader.node.propose(Buffer.from("word"));
    const admin = createClient(RaftAdminService, transportTo(one, protocol));

    // Two new learners in one change.
    const learners = [one, { ...two, learner: true }, { ...three, learner: true }];
    const grown = await admin.changeMembership({ members: learners });
    expect(grown.membership?.members.map(({ id, learner }) => [id, learner])).toEqual([
      [1n, false],
      [2n, true],
      [3n, true],
    ]);
    // The same again changes nothing.
    const again = await admin.changeMembership({ members: learners });
    expect(again.membership).toEqual(grown.membership);

    await allSay(joining, "word");
    const caughtUp = () =>
      leader.node.status().progress.every(({ matched }) => matched >= (grown.membership?.index ?? 0n));
    await expect.poll(caughtUp, PATIENCE).toBe(true);
    // Two voters change: joint consensus, left when the answer comes.
    const voters = await admin.changeMembership({ members: [{ id: 1n }, { id: 2n }, { id: 3n }] });
    expect(voters.membership?.members.map(({ learner }) => learner)).toEqual([false, false, false]);
    expect(voters.membership?.joint).toBe(false);
    expect(leader.node.membership.voters).toEqual([1n, 2n, 3n]);

    const other = createClient(RaftAdminService, transportTo(two, protocol));
    const shrunk = await other.changeMembership({ members: [{ id: 1n }, { id: 2n, learner: true }] });
    expect(shrunk.membership?.members.map(({ id, learner }) => [id, learner])).toEqual([
      [1n, false],
      [2n, true],
    ]);
  });
});

describe("what is refused, and what force overrides", () => {
  test("an address where nobody answers, where another node does, or one of another cluster", async () => {
    const { addresses, leader } = await startGroup(1, 3);
    const [one, two, stranger, nobody] = addresses;
    if (one === undefined || two === undefined || stranger === undefined || nobody === undefined) {
      throw new Error("four were made");
    }
    await startWords(two);
    await startWords(stranger, { clusterId: "strangers" });
    const admin = createClient(RaftAdminService, transportTo(one));
    const refusals = [
      await refusalOf(admin.addLearner({ nodeId: 4n, address: nobody.address })),
      await refusalOf(admin.addLearner({ nodeId: 4n, address: two.address })),
      await refusalOf(admin.addLearner({ nodeId: 3n, address: stranger.address })),
      await refusalOf(admin.updateAddress({ nodeId: 1n, address: nobody.address })),
      await refusalOf(
        admin.changeMembership({ members: [one, { id: 4n, address: nobody.address, learner: true }] }),
      ),
    ];
    expect(refusals.map(({ reason }) => reason)).toEqual(Array(5).fill("membershipRefused"));
    const messages = refusals.map(({ message }) => message);
    expect(messages[0]).toContain(`node 4 cannot be reached at ${nobody.address}: nobody answers there`);
    expect(messages[1]).toContain(`node 4 cannot be reached at ${two.address}: node 2 answers there`);
    expect(messages[2]).toContain(
      `node 3 cannot be reached at ${stranger.address}: a node of cluster "strangers" answers there`,
    );
    expect(messages[3]).toContain("nobody answers there");
    expect(messages[4]).toContain("force it");
    expect(leader.node.membership.learners).toEqual([]);

    const added = await admin.addLearner({ nodeId: 4n, address: nobody.address, force: true });
    expect(added.membership?.members.map(({ id }) => id)).toEqual([1n, 4n]);
    const moved = await admin.updateAddress({ nodeId: 4n, address: "127.0.0.1:1", force: true });
    expect(moved.membership?.members.map(({ address }) => address)).toEqual([one.address, "127.0.0.1:1"]);
  });

  test("a voter that has nothing of the log, and a majority that does not answer", async () => {
    const { addresses, members, nodes, leader } = await startGroup(3, 1);
    const spare = addresses[3];
    if (spare === undefined) throw new Error("four were made");
    await startWords(spare);
    const admin = createClient(RaftAdminService, transportTo(leader));
    const lagging = await refusalOf(admin.changeMembership({ members: [...members, spare] }));
    expect(lagging.reason).toBe("membershipRefused");
    expect(lagging.message).toContain("node 4 would be a voter at once");

    const gone = nodes.find((embedded) => embedded !== leader);
    const left = nodes.find((embedded) => embedded !== leader && embedded !== gone);
    if (gone === undefined || left === undefined) throw new Error("there are three");
    await gone.close();
    // Who was not heard from for an election timeout does not answer: that is what it means.
    await new Promise((resolve) => setTimeout(resolve, 2 * 10 * TICK_MS));
    // Without the other follower, the one that is gone would be needed.
    const members2 = [{ id: leader.node.id }, { id: gone.node.id }];
    const lost = await refusalOf(admin.changeMembership({ members: members2 }));
    expect(lost.message).toContain("of the 2 voters after the change only 1 answer now, and 2 are needed");
    const forced = await admin.changeMembership({
      members: [{ id: leader.node.id }, { id: left.node.id }],
      force: true,
    });
    expect(forced.membership?.members.map(({ id }) => id).sort()).toEqual(
      [leader.node.id, left.node.id].sort(),
    );
  });

  test("what makes no sense", async () => {
    const { members, leader } = await startGroup(1);
    const admin = createClient(RaftAdminService, transportTo(leader));
    const [one] = members;
    if (one === undefined) throw new Error("one was made");
    const refusals = await Promise.all([
      refusalOf(admin.changeMembership({ members: [] })),
      refusalOf(admin.changeMembership({ members: [one, one] })),
      refusalOf(admin.changeMembership({ members: [{ id: 0n }] })),
      refusalOf(admin.changeMembership({ members: [one, { id: 2n }] })),
      refusalOf(admin.changeMembership({ members: [{ ...one, learner: true }] })),
      refusalOf(admin.changeMembership({ members: [{ id: 1n, address: "nowhere" }] })),
      refusalOf(admin.updateAddress({ nodeId: 0n, address: "127.0.0.1:1" })),
      refusalOf(admin.updateAddress({ nodeId: 1n, address: "127.0.0.1" })),
    ]);
    expect(refusals.map(({ reason }) => reason)).toEqual(Array(8).fill("invalidArgument"));
    expect(refusals.map(({ message }) => message)).toEqual([
      "members is empty: name all of them",
      "a node may appear only once among the members",
      "a member has no id: ids are 1 or higher",
      "node 2 is new and needs an address, host:port",
      "a group needs at least one voter",
      'the address of node 1, "nowhere" has no port: write host:port, as in 127.0.0.1:7001',
      "node_id is missing: give the id of a node, 1 or higher",
      'address "127.0.0.1" has no port: write host:port, as in 127.0.0.1:7001',
    ]);
  });
});

test("a node that has moved is reached where it is from then on", async () => {
  const [one, two, three, elsewhere] = await addressesFor(4);
  if (one === undefined || two === undefined || three === undefined || elsewhere === undefined) {
    throw new Error("four were made");
  }
  const members = [one, two, three];
  const dataDir = temporaryFolder();
  const stay = await Promise.all([one, two].map((at) => startWords(at, { members })));
  const moves = await startWords(three, { members, dataDir });
  await leaderOf([...stay, moves]);
  await moves.close();
  const moved = await startWords({ id: 3n, address: elsewhere.address }, { members, dataDir });
  const admin = createClient(RaftAdminService, transportTo(two));
  const request = { nodeId: 3n, address: elsewhere.address };
  const { membership } = await admin.updateAddress(request, { timeoutMs: 15_000 });
  expect(membership?.members.map(({ address }) => address)).toEqual([
    one.address,
    two.address,
    elsewhere.address,
  ]);
  expect(membership?.joint).toBe(false);
  const leader = await leaderOf([...stay, moved]);
  await leader.node.propose(Buffer.from("after"));
  const nodes = [...stay, moved];
  await allSay(nodes, "after");
});
