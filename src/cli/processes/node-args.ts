// The arguments of `placement-center start` for one node of a cluster that this command runs itself.

export interface NodeArgs {
  readonly id: number;
  readonly listen: string;
  readonly http: string;
  readonly data: string;
  readonly clusterId: string;
  /** The members that the cluster begins with; undefined for a node that is added to a running one. */
  readonly members: readonly { readonly id: number; readonly listen: string }[] | undefined;
}

export function toNodeArgs({ id, listen, http, data, clusterId, members }: NodeArgs): string[] {
  const origin =
    members === undefined
      ? ["--join"]
      : ["--members", members.map((member) => `${member.id}=${member.listen}`).join(",")];
  return [
    ...["--id", String(id)],
    ...["--listen", listen],
    ...["--http", http],
    ...["--data", data],
    ...["--cluster-id", clusterId],
    ...origin,
  ];
}
