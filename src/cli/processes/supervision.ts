// What a node's process and the process that started it say to each other over Node's IPC channel. When the channel
// closes, the parent is gone, even by SIGKILL, and the node stops: nobody is left to stop it.

/** From the node. */
export type NodeReport =
  | { readonly kind: "listening" }
  | { readonly kind: "failed"; readonly message: string; readonly exitStatus: number };

/** To the node. */
export type NodeOrder = { readonly kind: "stop" };

export function isNodeReport(value: unknown): value is NodeReport {
  if (!hasKind(value)) return false;
  if (value.kind === "listening") return true;
  return (
    value.kind === "failed" &&
    "message" in value &&
    typeof value.message === "string" &&
    "exitStatus" in value &&
    typeof value.exitStatus === "number"
  );
}

export function isNodeOrder(value: unknown): value is NodeOrder {
  return hasKind(value) && value.kind === "stop";
}

function hasKind(value: unknown): value is { kind: unknown } {
  return typeof value === "object" && value !== null && "kind" in value;
}

/** True when another process started this one and watches over it. */
export function isSupervised(): boolean {
  return process.send !== undefined && process.connected;
}

/** Tells the supervising process; without one, or when it is gone, nothing happens. */
export function reportToSupervisor(report: NodeReport): void {
  // A channel that closes meanwhile reports an error to the callback: the disconnect event deals with it.
  if (isSupervised()) process.send?.(report, () => {});
}

/** Calls `stop` when the supervisor asks for it or is gone. The channel alone does not keep this process alive. */
export function onSupervisorStop(stop: () => void): void {
  if (!isSupervised()) return;
  process.on("message", (message) => {
    if (isNodeOrder(message)) stop();
  });
  process.once("disconnect", stop);
  process.channel?.unref();
}
