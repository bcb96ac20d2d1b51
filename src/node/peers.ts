// The other members: where they are, whether they were heard from lately, and who is no longer one of them.

import { inIdOrder, type NodeId } from "../core/types.js";
import { isMember, type Membership, memberIds } from "./membership.js";
import type { Cancel, Clock, PeerTransport } from "./ports.js";

/** Removed nodes that are remembered, so that they are refused at the door. The oldest are forgotten first. */
const MAX_REMEMBERED = 1024;

export interface PeersOptions {
  readonly id: NodeId;
  readonly clock: Clock;
  readonly membership: Membership;
  /** A peer that was heard from within this time counts as active. */
  readonly activeMs: number;
  /** How long a removed peer is still sent to, so that it learns of its own removal. */
  readonly farewellMs: number;
}

export class Peers {
  #membership: Membership;
  #transport: PeerTransport | undefined;
  readonly #heardMs = new Map<NodeId, number>();
  readonly #removed = new Set<NodeId>();
  /** Removed, and still sent to. */
  readonly #leaving = new Map<NodeId, string>();
  readonly #farewells = new Set<Cancel>();

  constructor(private readonly options: PeersOptions) {
    this.#membership = options.membership;
  }

  /** As of what is applied here. */
  get membership(): Membership {
    return this.#membership;
  }

  connect(transport: PeerTransport): void {
    this.#transport = transport;
    this.#announce();
  }

  close(): void {
    for (const cancel of this.#farewells) cancel();
    this.#farewells.clear();
  }

  /** Puts an applied membership into force. Returns whether it removed this node. */
  adopt(membership: Membership): boolean {
    const before = this.#membership;
    this.#membership = membership;
    for (const id of memberIds(membership)) this.#removed.delete(id);
    const gone = memberIds(before).filter((id) => !isMember(membership, id));
    for (const id of gone) this.#remove(id, before.addresses.get(id));
    this.#announce();
    return gone.includes(this.options.id);
  }

  /**
   * Anybody but those that are known to have been removed: a node that has been away may be led by one that joined
   * meanwhile, and must listen to it to learn so.
   */
  admits(from: NodeId): boolean {
    return from !== this.options.id && !this.#removed.has(from);
  }

  heardFrom(id: NodeId): void {
    if (isMember(this.#membership, id)) this.#heardMs.set(id, this.options.clock.nowMs());
  }

  isActive(id: NodeId): boolean {
    if (id === this.options.id) return true;
    const heardMs = this.#heardMs.get(id);
    return heardMs !== undefined && this.options.clock.nowMs() - heardMs <= this.options.activeMs;
  }

  #remove(id: NodeId, address: string | undefined): void {
    this.#heardMs.delete(id);
    this.#removed.add(id);
    if (this.#removed.size > MAX_REMEMBERED) this.#removed.delete(oldestOf(this.#removed) ?? id);
    if (address === undefined) return;
    this.#leaving.set(id, address);
    const cancel = this.options.clock.after(this.options.farewellMs, () => {
      this.#farewells.delete(cancel);
      this.#leaving.delete(id);
      this.#announce();
    });
    this.#farewells.add(cancel);
  }

  #announce(): void {
    const addresses = new Map([...this.#leaving, ...this.#membership.addresses]);
    addresses.delete(this.options.id);
    const inOrder = inIdOrder(addresses.keys()).map((id): [NodeId, string] => [id, addresses.get(id) ?? ""]);
    this.#transport?.setMembers(new Map(inOrder));
  }
}

function oldestOf(ids: ReadonlySet<NodeId>): NodeId | undefined {
  for (const id of ids) return id;
  return undefined;
}
