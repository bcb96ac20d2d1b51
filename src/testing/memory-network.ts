// A network in memory between nodes: every message goes through its bytes, and a test decides what gets through.
// Nodes are found by id; their addresses mean nothing here.

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { NodeId } from "../core/types.js";
import { type Message, MessageSchema, MessageType } from "../gen/eraftpb_pb.js";
import { SnapshotDescriptorSchema } from "../gen/records_pb.js";
import type { Clock, PeerInbox, PeerTransport, SnapshotStore } from "../node/ports.js";

interface Station {
  readonly inbox: PeerInbox;
  readonly snapshots: SnapshotStore;
  /** Whom it has heard from: every message says where its sender is. */
  readonly heardFrom: Set<NodeId>;
}

export class MemoryNetwork {
  readonly #stations = new Map<NodeId, Station>();
  readonly #isolated = new Set<NodeId>();
  /** Returns false for what gets lost. */
  filter: (message: Message) => boolean = () => true;
  /** What each node was last told about where its peers are. */
  readonly members = new Map<NodeId, ReadonlyMap<NodeId, string>>();

  constructor(private readonly clock: Clock) {}

  /** Nothing gets to this node or away from it, until `heal`. */
  isolate(id: NodeId): void {
    this.#isolated.add(id);
  }

  /** Everything gets through again. */
  heal(): void {
    this.#isolated.clear();
    this.filter = () => true;
  }

  /**
   * What a RaftNode takes as its `transport`. `snapshots` is that node's store: bodies are copied from the sender's to
   * the receiver's. `record` hears of what the node does with its transport, as one line each.
   */
  connect(
    snapshots: SnapshotStore,
    record: (event: string) => void = () => {},
  ): (inbox: PeerInbox) => PeerTransport {
    return (inbox: PeerInbox): PeerTransport => {
      const station: Station = { inbox, snapshots, heardFrom: new Set() };
      this.#stations.set(inbox.id, station);
      return {
        send: (messages) => {
          for (const message of messages) {
            record(`send ${MessageType[message.msgType]} to ${message.to} index=${message.index}`);
            this.#carry(station, message);
          }
        },
        setMembers: (addresses) => {
          // A process that is dead tells nobody anything.
          if (this.#stations.get(inbox.id) !== station) return;
          this.members.set(inbox.id, addresses);
          record(`setMembers ${[...addresses.keys()].join(",")}`);
        },
        close: async () => {
          record("transport.close");
          if (this.#stations.get(inbox.id) === station) this.#stations.delete(inbox.id);
        },
      };
    };
  }

  /** The node is gone, with all that was on its way to it. */
  disconnect(id: NodeId): void {
    this.#stations.delete(id);
  }

  /** The door that a node's peers knock at. */
  inboxOf(id: NodeId): PeerInbox {
    const station = this.#stations.get(id);
    if (station === undefined) throw new Error(`node ${id} is not connected`);
    return station.inbox;
  }

  #carry(from: Station, message: Message): void {
    const bytes = toBinary(MessageSchema, message);
    this.clock.soon(() => {
      const to = this.#stations.get(message.to);
      const known =
        this.members.get(from.inbox.id)?.has(message.to) === true || from.heardFrom.has(message.to);
      // A transport that was closed tells its node nothing any more.
      if (this.#stations.get(from.inbox.id) !== from) return;
      const passes =
        to !== undefined &&
        known &&
        !this.#isolated.has(message.to) &&
        !this.#isolated.has(from.inbox.id) &&
        this.filter(message) &&
        to.inbox.admits(from.inbox.id);
      if (to === undefined || !passes) {
        from.inbox.reportUnreachable(message.to);
        if (message.msgType === MessageType.MsgSnapshot) from.inbox.reportSnapshot(message.to, false);
        return;
      }
      to.heardFrom.add(from.inbox.id);
      const delivered = fromBinary(MessageSchema, bytes);
      if (message.msgType === MessageType.MsgSnapshot && sizeOf(delivered) > 0n) {
        void this.#carrySnapshot(from, to, delivered);
        return;
      }
      try {
        to.inbox.step([delivered]);
        if (message.msgType === MessageType.MsgSnapshot) from.inbox.reportSnapshot(message.to, true);
      } catch {
        from.inbox.reportUnreachable(message.to);
      }
    });
  }

  async #carrySnapshot(from: Station, to: Station, message: Message): Promise<void> {
    try {
      const descriptor = fromBinary(SnapshotDescriptorSchema, message.snapshot?.data ?? new Uint8Array(0));
      const reader = await from.snapshots.openRead(descriptor.snapshotId);
      const receiver = await to.snapshots.receive(descriptor);
      const held = receiver.receivedBytes;
      if (held < reader.sizeBytes) await receiver.write(held, await reader.read(held, reader.sizeBytes));
      await receiver.finish();
      to.inbox.step([message]);
      from.inbox.reportSnapshot(message.to, true);
    } catch {
      from.inbox.reportSnapshot(message.to, false);
    }
  }
}

/** An empty body travels as nothing. */
function sizeOf(message: Message): bigint {
  return fromBinary(SnapshotDescriptorSchema, message.snapshot?.data ?? new Uint8Array(0)).sizeBytes;
}
