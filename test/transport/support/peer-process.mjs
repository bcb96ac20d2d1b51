// A node's receiving side in a process of its own: prints its port, then one line per message that it took in.

import { listenHttp2 } from "../../../dist/transport/http2-server.js";
import { raftRoutes } from "../../../dist/transport/raft-service.js";

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const clock = {
  nowMs: () => performance.now(),
  after: (delayMs, run) => {
    const timer = setTimeout(run, delayMs);
    return () => clearTimeout(timer);
  },
  every: (periodMs, run) => {
    const timer = setInterval(run, periodMs);
    return () => clearInterval(timer);
  },
  soon: (run) => setImmediate(run),
};
const inbox = {
  id: 2n,
  admits: () => true,
  step: (messages) => {
    for (const message of messages) process.stdout.write(`took ${message.index}\n`);
  },
  reportUnreachable() {},
  reportSnapshot() {},
};
const listener = await listenHttp2({
  host: "127.0.0.1",
  port: Number(process.argv[2] ?? 0),
  routes: raftRoutes({
    id: 2n,
    clusterId: "test-cluster",
    incarnation: String(process.pid),
    inbox,
    snapshots: {},
    logger: silent,
    clock,
  }),
  logger: silent,
  shutdownGraceMs: 100,
});
process.stdout.write(`port ${listener.address.port}\n`);
