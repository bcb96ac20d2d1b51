// Several TestNodes and the wires between them: messages travel until nothing is left to say, unless a wire is cut.

import { type Message, MessageType, type NodeId, newMessage } from "../../src/core/index.js";
import { TestNode, type TestNodeOptions } from "./test-node.js";

/** What becomes of one message on the way. */
type Wire = (message: Message) => boolean;

export class Network {
  readonly #nodes = new Map<NodeId, TestNode>();
  /** Each returns false to lose a message. */
  #wires = new Map<string, Wire>();
  /** Every message delivered, in order. */
  readonly delivered: Message[] = [];

  /** Nodes 1 to `size`, all of them voters. */
  static ofSize(size: number, options: TestNodeOptions = {}): Network {
    const voters = Array.from({ length: size }, (_, position) => BigInt(position + 1));
    return Network.of(voters.map((id) => new TestNode(id, { voters, ...options })));
  }

  /** Given nodes. A member of their configuration that is not among them is a dead peer. */
  static of(nodes: readonly TestNode[]): Network {
    const network = new Network();
    for (const node of nodes) network.add(node);
    return network;
  }

  add(node: TestNode): void {
    this.#nodes.set(node.id, node);
  }

  /** @throws for a dead peer. */
  node(id: NodeId | number): TestNode {
    const node = this.#nodes.get(BigInt(id));
    if (node === undefined) throw new Error(`there is no live node ${id}`);
    return node;
  }

  get nodes(): TestNode[] {
    return [...this.#nodes.values()];
  }

  get leader(): TestNode | undefined {
    return this.nodes.find((node) => node.role === "leader");
  }

  /** Steps messages in, then delivers what they lead to until it is quiet. */
  send(...messages: Message[]): void {
    for (const message of messages) this.#nodes.get(message.to)?.step(message);
    this.settle();
  }

  /** Lets every node do its work and delivers, until it is quiet. */
  settle(): void {
    for (let round = 0; round < 10_000; round += 1) {
      const queue = this.nodes.flatMap((node) => node.takeMessages());
      if (queue.length === 0) return;
      for (const message of queue) this.#deliver(message);
    }
    throw new Error("the network did not become quiet in 10,000 rounds");
  }

  #deliver(message: Message): void {
    for (const wire of this.#wires.values()) if (!wire(message)) return;
    this.delivered.push(message);
    const target = this.#nodes.get(message.to);
    target?.act((node) => node.step(message));
  }

  /** The node campaigns now, and all that follows happens. */
  campaign(id: NodeId | number): void {
    this.send(newMessage(MessageType.MsgHup, BigInt(id), { from: BigInt(id) }));
  }

  /** The node campaigns in the name of its leader, without a pre-vote. */
  timeoutNow(id: NodeId | number, from: NodeId | number): void {
    const target = this.node(id);
    this.send(
      newMessage(MessageType.MsgTimeoutNow, target.id, { from: BigInt(from), term: target.raft.term }),
    );
  }

  propose(id: NodeId | number, data: string): void {
    this.node(id).propose(data);
    this.settle();
  }

  /** One tick on each node, and all that follows. */
  tick(times = 1): void {
    for (let count = 0; count < times; count += 1) {
      for (const node of this.nodes) node.tick();
      this.settle();
    }
  }

  /** Loses everything between the two. */
  cut(one: NodeId | number, other: NodeId | number): void {
    const [a, b] = [BigInt(one), BigInt(other)];
    this.#wires.set(
      `cut ${a} ${b}`,
      ({ from, to }) => !((from === a && to === b) || (from === b && to === a)),
    );
  }

  /** Loses everything from and to the node. */
  isolate(id: NodeId | number): void {
    const alone = BigInt(id);
    this.#wires.set(`isolate ${alone}`, ({ from, to }) => from !== alone && to !== alone);
  }

  /** Loses every message of this type. */
  ignore(type: MessageType): void {
    this.#wires.set(`ignore ${type}`, ({ msgType }) => msgType !== type);
  }

  /** Loses what `keep` says no to. */
  filter(keep: Wire): void {
    this.#wires.set(`filter ${this.#wires.size}`, keep);
  }

  /** All wires work again. */
  recover(): void {
    this.#wires = new Map();
  }
}
