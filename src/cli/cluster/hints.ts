// Commands to paste into another terminal; they work as they are printed, in the folder they are printed in.

import { relative } from "node:path";
import { toNodeArgs } from "../processes/node-args.js";
import { type ClusterFile, DEFAULT_PORT, nodeFolder } from "./cluster-file.js";

/** How this very command is called from the present folder. */
function ownName(): string {
  const script = process.argv[1] ?? "placement-center";
  const shown = relative(process.cwd(), script);
  return `node ${quote(shown.startsWith("..") ? script : shown)}`;
}

export function exampleCommands(file: ClusterFile): string[] {
  const [first] = file.nodes;
  if (first === undefined) return [];
  const own = ownName();
  const endpoints = file.nodes.map((node) => node.listen).join(",");
  const isDefault = first.listen.endsWith(`:${DEFAULT_PORT}`);
  const at = isDefault ? "" : ` --endpoints ${endpoints}`;
  return [
    "Try it from another terminal:",
    `  ${own} put greeting hello${at}`,
    `  ${own} get greeting${at}`,
    `  ${own} status${at}`,
    `  ${own} leader transfer${at}`,
    `  curl -s -H 'content-type: application/json' -d '{"key":"greeting"}' http://${first.http}/raftnode.v1.KvService/Get`,
  ];
}

/** Starts one node of a local cluster by hand. */
export function restartCommand(file: ClusterFile, id: number, shownFolder: string): string {
  const node = file.nodes.find((candidate) => candidate.id === id);
  if (node === undefined) return "";
  const args = toNodeArgs({
    ...node,
    data: nodeFolder(shownFolder, node),
    clusterId: file.clusterId,
    members: file.nodes,
  });
  return [ownName(), "start", ...args.map(quote)].join(" ");
}

function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
