// One node in a process of its own, as an embedder would run it; it does what the benchmark asks over IPC.

import { readFileSync } from "node:fs";
import { type EmbeddedNode, embedRaftNode } from "../../src/embed.js";
import {
  type Answer,
  type Call,
  type CallName,
  type Calls,
  type Memory,
  type NodeSettings,
  READY,
  SETTINGS_VARIABLE,
} from "./calls.js";
import { Load } from "./load.js";
import { BenchMachine } from "./machine.js";

const MEMORY_SAMPLE_MS = 50;

type Handlers = {
  readonly [Name in CallName]: (args: Calls[Name]["args"]) => Promise<Calls[Name]["answer"]>;
};

/** Runs until the process is killed or its parent goes away. */
export async function runBenchNode(): Promise<void> {
  const settings: NodeSettings = JSON.parse(process.env[SETTINGS_VARIABLE] ?? "{}");
  const embedded = await embedRaftNode({
    dataDir: settings.dataDir,
    id: BigInt(settings.id),
    clusterId: "bench",
    listen: { host: "127.0.0.1", port: settings.port },
    members: settings.members.map(({ id, address }) => ({ id: BigInt(id), address })),
    stateMachine: async () => new BenchMachine(settings.stateBytes, settings.durableState),
  });
  void embedded.node.fatal.then((error) => {
    console.error(`node ${settings.id} failed`, error);
    process.exit(1);
  });
  const handlers = handlersOf(embedded);
  process.on("disconnect", () => process.exit(0));
  process.on("message", (call: Call) => {
    void answer(handlers, call).then((message) => process.send?.(message));
  });
  process.send?.(READY);
}

async function answer<Name extends CallName>(handlers: Handlers, call: Call<Name>): Promise<Answer> {
  const { callId, name, args } = call;
  try {
    return { callId, answer: await handlers[name](args) };
  } catch (error) {
    return { callId, error: String(error) };
  }
}

function handlersOf({ node, metrics }: EmbeddedNode<BenchMachine>): Handlers {
  let load: Load | undefined;
  let peak: Memory = { rssBytes: 0, ownBytes: 0 };
  let waiting = false;
  let sampling = false;
  return {
    startLoad: async ({ inFlight, bytes }) => {
      load = new Load(node, inFlight, bytes);
      return true;
    },
    endLoad: async () => {
      if (load === undefined) throw new Error("no load was started");
      return await load.end();
    },
    counts: async () => {
      const { user, system } = process.cpuUsage();
      const { log, transport } = metrics();
      return {
        cpuSeconds: (user + system) / 1e6,
        fsyncs: log.batches,
        rpcs: transport.peers.reduce((sum, { sendRaftMessage }) => sum + sendRaftMessage.calls, 0),
      };
    },
    position: async () => ({ leads: node.isLeader, applied: Number(node.status().applied) }),
    peakMemory: async () => {
      const before = higher(peak, memoryNow());
      // A sample costs a millisecond on some machines: nobody pays for it who has not asked.
      if (!sampling) {
        sampling = true;
        setInterval(() => {
          peak = higher(peak, memoryNow());
        }, MEMORY_SAMPLE_MS);
      }
      peak = memoryNow();
      return before;
    },
    proposeWhenLeading: async () => {
      for (waiting = true; waiting; ) {
        if (node.isLeader) {
          const ledAtMs = Date.now();
          try {
            await node.propose(new Uint8Array(256));
            return { ledAtMs, appliedAtMs: Date.now() };
          } catch {
            // Led for a moment only: the next leader may be this one again.
          }
        }
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      return "gaveUp";
    },
    giveUp: async () => {
      waiting = false;
      return true;
    },
    addLearner: async ({ id, address }) => {
      await node.addLearner(BigInt(id), address);
      return true;
    },
  };
}

/** As Linux counts it; elsewhere all of it counts as own. */
function memoryNow(): Memory {
  const rssBytes = process.memoryUsage.rss();
  if (process.platform !== "linux") return { rssBytes, ownBytes: rssBytes };
  const [, kib = "0"] = /^RssAnon:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return { rssBytes, ownBytes: Number(kib) * 1024 };
}

function higher(a: Memory, b: Memory): Memory {
  return { rssBytes: Math.max(a.rssBytes, b.rssBytes), ownBytes: Math.max(a.ownBytes, b.ownBytes) };
}
