// How a log looks on a screen and in JSON.

import type { HardState } from "../../gen/eraftpb_pb.js";
import type { MembershipRecord } from "../../gen/records_pb.js";
import type { LogInspector, LogItem } from "../../storage/inspect-log.js";
import type { LogReport } from "../../storage/verify-log.js";
import { toJsonLine } from "../output.js";
import { entryTypeName, summarizePayload } from "./payload.js";

const UNKNOWN = "unknown (damaged)";

/** What is known of the log as a whole, and what is wrong with that. */
export function formatHeader(inspector: LogInspector): string[] {
  const { identity, formatVersion, boundary, lastIndex, hardState, membership, snapshot } = inspector.records;
  const metadata = snapshot?.metadata;
  return [
    `file        ${inspector.path}, ${inspector.fileBytes} bytes${holderText(inspector)}`,
    `identity    ${identity === undefined ? UNKNOWN : `node ${identity.nodeId} of cluster ${identity.clusterId}`}, format version ${formatVersion ?? UNKNOWN}`,
    `boundary    ${boundary === undefined ? UNKNOWN : `index ${boundary.index}, term ${boundary.term}: what came before is in the state`}`,
    `last index  ${lastIndex ?? UNKNOWN}`,
    `hard state  ${hardState === undefined ? UNKNOWN : hardStateText(hardState)}`,
    `snapshot    ${metadata === undefined ? "the log was never replaced by one" : `index ${metadata.index}, term ${metadata.term}: the log was replaced by it`}`,
    ...membershipLines(membership),
    ...inspector.problems.map(({ place, problem }) => `DAMAGED     ${place}: ${problem}`),
    "",
  ];
}

function holderText({ holderPid }: LogInspector): string {
  return holderPid === undefined ? ", not in use" : `, in use by process ${holderPid}`;
}

function hardStateText({ term, vote, commit }: HardState): string {
  return `term ${term}, vote ${vote === 0n ? "none" : vote}, commit ${commit}`;
}

function membershipLines(membership: MembershipRecord | undefined): string[] {
  if (membership === undefined) return [`members     ${UNKNOWN}`];
  const members = membersOf(membership);
  if (members.length === 0) return ["members     none: the node waits to be added"];
  return members.map(({ id, address, role }, at) => {
    const label = at === 0 ? `members     as of index ${membership.index}: ` : " ".repeat(12);
    return `${label}${id} ${address ?? "(address unknown)"} ${role}`;
  });
}

interface MemberView {
  readonly id: bigint;
  readonly address: string | null;
  readonly role: string;
}

/** Every member once, in the order voters, outgoing voters, learners. */
export function membersOf({ confState, addresses }: MembershipRecord): MemberView[] {
  const known = new Map(addresses.map(({ id, address }) => [id, address]));
  const roles = new Map<bigint, string>();
  const add = (ids: readonly bigint[] | undefined, role: string): void => {
    for (const id of ids ?? []) roles.set(id, roles.has(id) ? `${roles.get(id)}, ${role}` : role);
  };
  add(confState?.voters, "voter");
  add(confState?.votersOutgoing, "outgoing voter");
  add(confState?.learners, "learner");
  add(confState?.learnersNext, "becomes learner");
  return [...roles].map(([id, role]) => ({ id, address: known.get(id) ?? null, role }));
}

/** One entry, or one damaged record, on one line. */
export function itemToRow(item: LogItem): string {
  if (item.kind === "damage") return `DAMAGED  ${item.place}: ${item.problem}`;
  const { entry, recordBytes, standing } = item;
  const mark = standing === "committed" ? "" : `  [${standing}]`;
  const cells = [
    String(entry.index).padStart(10),
    `term ${entry.term}`.padEnd(10),
    entryTypeName(entry.entryType).padEnd(7),
    `${recordBytes} B`.padStart(9),
  ];
  return `${cells.join("  ")}  ${summarizePayload(entry)}${mark}`;
}

export function itemToJson(item: LogItem): string {
  if (item.kind === "damage") return toJsonLine(item);
  const { entry, recordBytes, standing } = item;
  return toJsonLine({
    kind: "entry",
    index: entry.index,
    term: entry.term,
    type: entryTypeName(entry.entryType),
    recordBytes,
    dataBytes: entry.data.length,
    standing,
    summary: summarizePayload(entry),
  });
}

export function headerToJson(inspector: LogInspector): string {
  return toJsonLine({ kind: "log", ...headerOf(inspector) });
}

/** `null` stands for what is damaged; no field is ever absent. */
function headerOf({ path, fileBytes, holderPid, records, problems }: LogInspector): object {
  const { identity, formatVersion, boundary, firstIndex, lastIndex, hardState, membership, snapshot } =
    records;
  return {
    file: path,
    fileBytes,
    inUseBy: holderPid ?? null,
    clusterId: identity?.clusterId ?? null,
    nodeId: identity?.nodeId ?? null,
    formatVersion: formatVersion ?? null,
    boundary: boundary ?? null,
    firstIndex: firstIndex ?? null,
    lastIndex: lastIndex ?? null,
    hardState: hardState ? { term: hardState.term, vote: hardState.vote, commit: hardState.commit } : null,
    snapshot: snapshot?.metadata ? { index: snapshot.metadata.index, term: snapshot.metadata.term } : null,
    membership: membership ? { index: membership.index, members: membersOf(membership) } : null,
    problems,
  };
}

export function reportToText(inspector: LogInspector, report: LogReport, kind: "verify" | "stats"): string[] {
  const verdict =
    report.problemCount === 0
      ? `sound: ${report.entries} entries, every page and checksum as it must be`
      : `${report.problemCount} problems in ${inspector.path}`;
  const problems = report.problems.map(({ place, problem }) => `  ${place}: ${problem}`);
  const left = report.problemCount - report.problems.length;
  const more = left > 0 ? [`  and ${left} more`] : [];
  const advice =
    report.problemCount === 0
      ? []
      : [
          "what to do: move the data folder away and let the node rejoin under a new id (docs/operations.md, Replace a node); keep the folder until the cluster is whole again",
        ];
  if (kind === "verify") return [verdict, ...problems, ...more, ...advice];
  return [...formatHeader(inspector), ...statsLines(report), verdict, ...problems, ...more];
}

function statsLines({
  entries,
  committed,
  uncommitted,
  leftovers,
  byType,
  recordBytes,
  pages,
  terms,
}: LogReport): string[] {
  const average = entries === 0 ? 0 : Math.round(recordBytes.total / entries);
  return [
    `entries     ${entries}: ${committed} committed, ${uncommitted} after the commit index on disk; ${leftovers} leftovers wait to be deleted`,
    `types       ${byType.normal} commands, ${byType.empty} empty, ${byType.membership} membership changes`,
    `bytes       ${recordBytes.total} in records: smallest ${recordBytes.smallest}, average ${average}, largest ${recordBytes.largest}`,
    ...(pages === undefined
      ? []
      : [`pages       ${pages.usedPages} used, ${pages.freePages} free, ${pages.pageBytes} bytes each`]),
    ...terms.map(({ term, from, to }) => `term        ${term}: entries ${from} to ${to}`),
  ];
}

export function reportToJson(inspector: LogInspector, report: LogReport): string {
  const { problems, problemCount, ...rest } = report;
  return toJsonLine({
    ...headerOf(inspector),
    ...rest,
    pages: report.pages ?? null,
    sound: problemCount === 0,
    problemCount,
    problems,
  });
}
