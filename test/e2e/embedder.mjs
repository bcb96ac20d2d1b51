// A program of somebody else's: the example's counter is not built, so this one appends what it is given to a list. Started
// as a process of its own, with a port and a folder.

import { argv } from "node:process";
import { clientRoutes, embedRaftNode } from "../../dist/index.js";

const [, , port, dataDir] = argv;
const address = `127.0.0.1:${port}`;

class List {
  appliedIndex = 0n;
  durableIndex = 0n;
  text = "";

  apply(commands, appliedIndex) {
    this.appliedIndex = appliedIndex;
    return commands.map(({ data }) => {
      this.text += Buffer.from(data).toString("utf8");
      return Buffer.from(String(this.text.length));
    });
  }

  query() {
    return Buffer.from(this.text);
  }

  async snapshot() {
    const { appliedIndex, text } = this;
    return { appliedIndex, write: (sink) => sink(Buffer.from(text)), release: () => {} };
  }

  async restore(appliedIndex, body) {
    const chunks = [];
    for await (const chunk of body) chunks.push(chunk);
    this.text = Buffer.concat(chunks).toString("utf8");
    this.appliedIndex = appliedIndex;
  }

  async close() {}
}

await embedRaftNode({
  id: 1n,
  clusterId: "list",
  dataDir,
  listen: { host: "127.0.0.1", port: Number(port) },
  members: [{ id: 1n, address }],
  stateMachine: async () => new List(),
  routes: clientRoutes,
  tickIntervalMs: 50,
});
console.log("listening");
