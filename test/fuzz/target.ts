// The node under fire: a real process, whose health, memory and state are looked at between volleys by somebody who may.

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findFreePorts } from "../../src/cli/processes/ports.js";
import { PlacementClient } from "../../src/placement/client.js";
import { createToken, tokenLines } from "../../src/services/access-tokens.js";

export interface TargetOptions {
  readonly name: string;
  /** Of the built command. */
  readonly main: string;
  readonly dir: string;
  /** Voters beside the node, whose part the fuzzer plays. */
  readonly pretendedPeers: readonly bigint[];
}

export const NODE_ID = 1n;
export const CLUSTER_ID = "fuzz";
/** Beyond what it has at rest: buffers of calls under way, LMDB's pages, garbage not yet collected. */
const MAX_GROWTH_MIB = 300;
const START_MS = 30_000;
const HEALTH_MS = 10_000;
const CANARIES = 20;

export class TargetFailed extends Error {}

export class Target {
  readonly name: string;
  /** Of the built command. */
  readonly main: string;
  readonly listenPort: number;
  readonly httpPort: number;
  readonly tokens: { readonly admin: string; readonly client: string; readonly peer: string };
  readonly logFile: string;
  readonly dataDir: string;
  readonly #options: TargetOptions;
  #child: ChildProcess | undefined;
  #exit: string | undefined;
  #restMib = 0;

  private constructor(options: TargetOptions, listenPort: number, httpPort: number) {
    this.name = options.name;
    this.main = options.main;
    this.#options = options;
    this.listenPort = listenPort;
    this.httpPort = httpPort;
    mkdirSync(options.dir, { recursive: true });
    this.dataDir = join(options.dir, "data");
    this.logFile = join(options.dir, "node.log");
    const made = (["admin", "client", "peer"] as const).map((role) => createToken(role, [role]));
    writeFileSync(join(options.dir, "tokens.toml"), made.flatMap(tokenLines).join("\n"));
    const [admin = "", client = "", peer = ""] = made.map(({ token }) => token);
    this.tokens = { admin, client, peer };
    writeFileSync(join(options.dir, "peer.token"), peer);
  }

  static async start(options: TargetOptions): Promise<Target> {
    const [listenPort = 0, httpPort = 0] = await findFreePorts("127.0.0.1", 2);
    const target = new Target(options, listenPort, httpPort);
    await target.#spawn();
    if (!target.#isAlone) return target;
    const client = target.#client();
    for (let at = 0; at < CANARIES; at += 1) await client.set(`canary/${at}`, `sings ${at}`);
    await client.close();
    target.#restMib = target.rssMib();
    return target;
  }

  /** It needs nobody else to serve. */
  get #isAlone(): boolean {
    return this.#options.pretendedPeers.length === 0;
  }

  rssMib(): number {
    try {
      const status = readFileSync(`/proc/${this.#child?.pid}/status`, "utf8");
      return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) / 1024;
    } catch {
      // Not on Linux, or it has ended, which is noticed elsewhere.
      return 0;
    }
  }

  /** Everything that nobody who is not let in may change. */
  async fingerprint(): Promise<string> {
    const client = this.#client();
    try {
      const { term, commit, membership } = await client.metrics(`127.0.0.1:${this.listenPort}`);
      const { revision } = await client.range({ prefix: "" }, { limit: 1 });
      return JSON.stringify({
        term: `${term}`,
        commit: `${commit}`,
        membership: `${membership?.index}`,
        revision: `${revision}`,
      });
    } finally {
      await client.close();
    }
  }

  /** @throws TargetFailed saying what is wrong with it */
  async check(): Promise<void> {
    if (this.#exit !== undefined)
      throw new TargetFailed(`the process ended: ${this.#exit}; its log is ${this.logFile}`);
    const response = await fetch(`http://127.0.0.1:${this.httpPort}/livez`, {
      signal: AbortSignal.timeout(HEALTH_MS),
    }).catch((error: unknown) => {
      throw new TargetFailed(`/livez does not answer: ${String(error)}`);
    });
    if (!response.ok) throw new TargetFailed(`/livez answers ${response.status}: ${await response.text()}`);
    if (this.#restMib === 0) this.#restMib = this.rssMib();
    const growth = this.rssMib() - this.#restMib;
    if (growth > MAX_GROWTH_MIB) throw new TargetFailed(`it has grown by ${growth.toFixed(0)} MiB`);
    if (this.#isAlone) await this.#checkCanaries();
  }

  async #checkCanaries(): Promise<void> {
    const client = this.#client();
    try {
      const { entries } = await client.range({ prefix: "canary/" }, { deadlineMs: HEALTH_MS });
      const good = entries.filter(
        ({ key, value, version }) =>
          Buffer.from(value).toString() === `sings ${key.slice(7)}` && version === 1n,
      );
      if (good.length !== CANARIES)
        throw new TargetFailed(`only ${good.length} of ${CANARIES} canaries are well`);
    } catch (error) {
      if (error instanceof TargetFailed) throw error;
      throw new TargetFailed(`it does not serve: ${String(error)}`);
    } finally {
      await client.close();
    }
  }

  /** Ends it as a crash would, and starts it again: what it was made to write must not keep it from opening its data. */
  async restart(): Promise<void> {
    this.#child?.removeAllListeners("exit");
    await this.#end("SIGKILL");
    this.#exit = undefined;
    await this.#spawn();
  }

  async close(): Promise<void> {
    this.#child?.removeAllListeners("exit");
    await this.#end("SIGKILL");
  }

  #client(): PlacementClient {
    return new PlacementClient({ endpoints: [`127.0.0.1:${this.listenPort}`], token: this.tokens.admin });
  }

  async #spawn(): Promise<void> {
    const { dir, main, pretendedPeers } = this.#options;
    const address = `127.0.0.1:${this.listenPort}`;
    // Nobody listens there.
    const members = [`${NODE_ID}=${address}`, ...pretendedPeers.map((id) => `${id}=127.0.0.1:${id}`)].join(
      ",",
    );
    const log = openSync(this.logFile, "a");
    const child = spawn(
      process.execPath,
      [
        ...[
          main,
          "start",
          "--id",
          `${NODE_ID}`,
          "--cluster-id",
          CLUSTER_ID,
          "--data",
          this.dataDir,
          "--listen",
          address,
        ],
        ...["--http", `127.0.0.1:${this.httpPort}`, "--members", members, "--log-level", "warn"],
        ...["--tokens", join(dir, "tokens.toml"), "--peer-token-file", join(dir, "peer.token")],
      ],
      { stdio: ["ignore", log, log, "ipc"] },
    );
    closeSync(log);
    this.#child = child;
    child.once("exit", (code, signal) => {
      this.#exit = signal ?? `exit status ${code}`;
    });
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(
        () => reject(new TargetFailed(`it did not start within ${START_MS} ms: see ${this.logFile}`)),
        START_MS,
      );
      child.once("message", () => {
        clearTimeout(late);
        resolve();
      });
      child.once("close", () => {
        clearTimeout(late);
        reject(new TargetFailed(`it ended while starting: see ${this.logFile}`));
      });
    });
    child.removeAllListeners("close");
  }

  #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
    return new Promise((resolve) => {
      child.once("close", () => resolve());
      child.kill(signal);
    });
  }
}
