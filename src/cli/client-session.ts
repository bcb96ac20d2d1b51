// Runs a command's work with a client, and says of every failure what a person may conclude from it.

import { readFileSync } from "node:fs";
import { type ClientTls, TlsConfigInvalid } from "../embed/tls.js";
import { PlacementClient } from "../placement/client.js";
import { PlacementError } from "../placement/client-error.js";
import { PlacementConfigInvalid } from "../placement/config.js";
import { AccessConfigInvalid, parseTokenFile } from "../services/access-tokens.js";
import { type ClientOptions, TOKEN_VARIABLE } from "./arguments.js";
import { CommandError, ExitStatus } from "./exit-status.js";

/** @throws CommandError with the exit status that the failure deserves. */
export async function withClient<Result>(
  options: ClientOptions,
  work: (client: PlacementClient) => Promise<Result>,
): Promise<Result> {
  const client = openClient(options);
  try {
    return await work(client);
  } catch (error) {
    throw toCommandError(error);
  } finally {
    await client.close();
  }
}

/** @throws CommandError when the files of TLS cannot be used */
function openClient(options: ClientOptions): PlacementClient {
  const { endpoints, deadlineMs } = options;
  try {
    return new PlacementClient({
      endpoints,
      deadlineMs,
      tls: readClientTls(options),
      token: readToken(options),
    });
  } catch (error) {
    if (error instanceof TlsConfigInvalid) throw new CommandError(ExitStatus.usage, error.message);
    throw toCommandError(error);
  }
}

/** What the files of TLS hold; undefined when none is named. @throws CommandError when one cannot be read */
export function readClientTls({ tls, tlsCa, tlsCert, tlsKey }: ClientOptions): ClientTls | undefined {
  if (tls !== true && tlsCa === undefined && tlsCert === undefined && tlsKey === undefined) return undefined;
  return { ca: readPem(tlsCa), cert: readPem(tlsCert), key: readPem(tlsKey) };
}

/** The token of --token-file, else of the environment. @throws CommandError when either holds none */
export function readToken({ tokenFile = "" }: ClientOptions): string | undefined {
  const { [TOKEN_VARIABLE]: token = "" } = process.env;
  if (tokenFile === "" && token === "") return undefined;
  try {
    return tokenFile === ""
      ? parseTokenFile(token, TOKEN_VARIABLE)
      : parseTokenFile(readFileSync(tokenFile, "utf8"), tokenFile);
  } catch (error) {
    if (error instanceof AccessConfigInvalid) throw new CommandError(ExitStatus.usage, error.message);
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandError(ExitStatus.usage, `the file of the token, ${tokenFile}, cannot be read: ${why}`);
  }
}

function readPem(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandError(ExitStatus.usage, `the PEM file ${file} cannot be read: ${why}`);
  }
}

/** Nobody is there, or nobody can do it for the moment. */
const UNAVAILABLE: ReadonlySet<string> = new Set([
  "unreachable",
  "connectionLost",
  "noLeader",
  "notLeader",
  "notMember",
  "proposalDropped",
  "readDropped",
  "inboxFull",
  "nodeStopped",
  "deadlineExceeded",
  "outcomeUnknown",
]);

/** Anything that a client did not throw on purpose comes back as it is. */
export function toCommandError(error: unknown): unknown {
  if (error instanceof PlacementConfigInvalid) return new CommandError(ExitStatus.usage, error.message);
  if (!(error instanceof PlacementError)) return error;
  const { message, reason, outcome } = error;
  if (reason === "invalidArgument") return new CommandError(ExitStatus.usage, message, reason);
  if (outcome === "unknown") {
    const advice = "it may or may not have taken effect: look before you repeat it";
    return new CommandError(ExitStatus.outcomeUnknown, `${message}; ${advice}`, reason);
  }
  return new CommandError(
    UNAVAILABLE.has(reason) ? ExitStatus.unavailable : ExitStatus.failed,
    message,
    reason,
  );
}
