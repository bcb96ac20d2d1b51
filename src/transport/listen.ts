// Binding an address, with errors that say what to do.

import type { Server } from "node:net";

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** The address could not be listened on. Nothing was started. */
export class ListenError extends Error {
  override readonly name = "ListenError";
  constructor(
    readonly code: "addressInUse" | "notPermitted" | "addressNotAvailable" | "failed",
    message: string,
    cause: unknown,
  ) {
    super(message, { cause });
  }
}

/** @throws ListenError */
export async function listenOn(server: Server, host: string, port: number): Promise<ListenAddress> {
  await new Promise<void>((resolve, reject) => {
    const onError = (error: Error): void => reject(listenError(error, host, port));
    server.once("error", onError);
    try {
      server.listen({ host, port }, () => {
        server.off("error", onError);
        resolve();
      });
    } catch (error) {
      reject(listenError(error, host, port));
    }
  });
  const address = server.address();
  if (address === null || typeof address === "string") return { host, port };
  return { host: address.address, port: address.port };
}

function listenError(error: unknown, host: string, port: number): ListenError {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  const where = `${host}:${port}`;
  switch (code) {
    case "EADDRINUSE":
      return new ListenError(
        "addressInUse",
        `${where} is in use by another process: stop it (perhaps this node is running already) or choose another port`,
        error,
      );
    case "EACCES":
      return new ListenError(
        "notPermitted",
        `no permission to listen on ${where}: choose a port above 1023`,
        error,
      );
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return new ListenError(
        "addressNotAvailable",
        `${host} is no address of this machine: listen on 0.0.0.0, 127.0.0.1 or an address of its own`,
        error,
      );
    default:
      return new ListenError("failed", `could not listen on ${where}: ${String(error)}`, error);
  }
}
