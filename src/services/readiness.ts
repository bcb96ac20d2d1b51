// Whether this node should be sent clients: for probes, load balancers and the health service. Looked at when asked,
// and never by way of the log or another node.

import type { NodeStatus } from "../node/status.js";

export interface ReadinessCheck {
  /** - `running`: it has neither failed nor begun to stop.
   *  - `leader`: it knows one.
   *  - `applied`: its state is close to what it knows to be committed.
   *  - `space`: its log has room for at least deletes.
   *  - `disk`: a small file in its folder can be written and flushed. */
  readonly name: "running" | "leader" | "applied" | "space" | "disk";
  readonly ok: boolean;
  readonly detail: string;
}

export interface ReadinessReport {
  readonly ready: boolean;
  readonly checks: readonly ReadinessCheck[];
}

export interface ReadinessOptions {
  readonly node: { status(): NodeStatus };
  /** Rejects, within a bounded time, when the disk takes no writes. */
  readonly probeDisk: () => Promise<void>;
  /** Entries that are committed and not applied, above which a node is not ready. Default 5,000. */
  readonly maxApplyLag?: number | undefined;
}

const DEFAULT_MAX_APPLY_LAG = 5_000;

export class Readiness {
  constructor(private readonly options: ReadinessOptions) {}

  /** Whether the process should be left alone. A node that has failed can only be started again. */
  get alive(): boolean {
    return this.options.node.status().state !== "failed";
  }

  async check(): Promise<ReadinessReport> {
    const disk = await this.#checkDisk();
    const checks = [...this.#checkStatus(this.options.node.status()), disk];
    return { ready: checks.every(({ ok }) => ok), checks };
  }

  #checkStatus(status: NodeStatus): ReadinessCheck[] {
    const { state, leaderId, commit, applied, space } = status;
    const { maxApplyLag = DEFAULT_MAX_APPLY_LAG } = this.options;
    const lag = commit - applied;
    return [
      { name: "running", ok: state === "running", detail: `the node is ${state}` },
      {
        name: "leader",
        ok: leaderId !== undefined,
        detail: leaderId === undefined ? "no leader is known" : `node ${leaderId} leads`,
      },
      {
        name: "applied",
        ok: lag <= BigInt(maxApplyLag),
        detail: `${lag} committed entries are not applied, ${maxApplyLag} may be`,
      },
      { name: "space", ok: space !== "exhausted", detail: `room in the log: ${space}` },
    ];
  }

  async #checkDisk(): Promise<ReadinessCheck> {
    try {
      await this.options.probeDisk();
      return { name: "disk", ok: true, detail: "a file was written" };
    } catch (error) {
      return { name: "disk", ok: false, detail: error instanceof Error ? error.message : String(error) };
    }
  }
}
