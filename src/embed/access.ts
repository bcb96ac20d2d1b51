// Access control of a node: its file of tokens, its own token, and the rules for those who come without one, joined to
// the listeners, the pages of operators and the connections to other nodes.

import { stat } from "node:fs/promises";
import type { Clock, Logger } from "../node/ports.js";
import { AccessControl, type Caller } from "../services/access.js";
import type { ServiceRoles } from "../services/access-policy.js";
import {
  AccessConfigInvalid,
  bearer,
  parseTokenFile,
  parseTokens,
  type TokenTable,
} from "../services/access-tokens.js";
import { formatAddress, type HostAndPort } from "../services/address.js";
import type { ServiceError } from "../services/connect-errors.js";
import type { PrometheusText } from "../services/prometheus-text.js";
import type { CallGuard } from "../transport/call-guard.js";
import { type Connection, isLoopback } from "../transport/connection.js";
import { connectionOfRequest, type NodeRequest } from "../transport/request-handler.js";
import { isLoopbackHost, type TlsOptions } from "./tls.js";
import { WatchedFile } from "./watched-file.js";

/** Who may do what; see docs/access.md. */
export interface AccessOptions {
  /**
   * TOML: `[[token]]` with `name`, `roles`, `sha256`. Read again while the node runs. Absent: there are no tokens, and
   * callers from this machine, or with a verified certificate, may do everything.
   */
  readonly tokensFile?: string | undefined;
  /** Holds the token, with the role `peer`, that this node shows to others. Needed with tokens, unless TLS is mutual. */
  readonly peerTokenFile?: string | undefined;
  /** Callers without token and certificate may do everything, wherever they are. Default false. */
  readonly anonymous?: boolean | undefined;
  /** The roles that open the embedder's own services, by full name. Default: `admin`. */
  readonly serviceRoles?: ServiceRoles | undefined;
  /** How often the files are looked at. Default 2,000. */
  readonly reloadIntervalMs?: number | undefined;
}

export interface NodeAccessOptions {
  readonly access?: AccessOptions | undefined;
  readonly tls?: TlsOptions | undefined;
  readonly insecurePeers?: boolean | undefined;
  /** Where this node is reached, by what that is called. */
  readonly addresses: Readonly<Record<string, HostAndPort | undefined>>;
  /** Other nodes belong to the cluster, or may. */
  readonly hasPeers: boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

const DEFAULT_RELOAD_INTERVAL_MS = 2_000;
const READABLE_BY_ALL = 0o004;

export class NodeAccess {
  readonly #control: AccessControl;
  readonly #tls: TlsOptions | undefined;
  readonly #tokens: WatchedFile<TokenTable> | undefined;
  readonly #peerToken: WatchedFile<string> | undefined;

  private constructor(
    control: AccessControl,
    tls: TlsOptions | undefined,
    tokens: WatchedFile<TokenTable> | undefined,
    peerToken: WatchedFile<string> | undefined,
  ) {
    this.#control = control;
    this.#tls = tls;
    this.#tokens = tokens;
    this.#peerToken = peerToken;
  }

  /** @throws AccessConfigInvalid when a file is of no use, or nobody could tell friend from foe */
  static async load(options: NodeAccessOptions): Promise<NodeAccess> {
    const { access = {}, tls, clock, logger } = options;
    requireWay(options);
    const common = { clock, logger, intervalMs: access.reloadIntervalMs ?? DEFAULT_RELOAD_INTERVAL_MS };
    let control: AccessControl | undefined;
    const opened: { close(): void }[] = [];
    const open = async <T>(
      path: string | undefined,
      what: string,
      parse: (text: string, path: string) => T,
      onChange: (value: T) => void,
    ): Promise<WatchedFile<T> | undefined> => {
      if (path === undefined) return undefined;
      try {
        const file = await WatchedFile.open({ ...common, path, what, parse, onChange });
        opened.push(file);
        return file;
      } catch (error) {
        for (const file of opened) file.close();
        if (error instanceof AccessConfigInvalid) throw error;
        const why = error instanceof Error ? error.message : String(error);
        throw new AccessConfigInvalid(`the ${what} cannot be read: ${why}`, { cause: error });
      }
    };
    const tokens = await open(access.tokensFile, "file of tokens", parseTokens, (table) =>
      control?.replaceTokens(table),
    );
    if (access.peerTokenFile !== undefined) await warnIfReadable(access.peerTokenFile, logger);
    const peerToken = await open(access.peerTokenFile, "file of the peer token", parseTokenFile, () => {});
    control = new AccessControl({
      tokens: tokens?.current,
      // Whoever is trusted to speak as a peer in the clear could have any entry written to the log.
      anonymous: access.anonymous === true || (tokens === undefined && options.insecurePeers === true),
      serviceRoles: access.serviceRoles,
      logger,
      clock,
    });
    warn(options, tokens?.current, peerToken?.current);
    return new NodeAccess(control, tls, tokens, peerToken);
  }

  /** For the listeners. */
  readonly guard: CallGuard = ({ method, connection, ...headers }) =>
    this.#control.judgeCall(method, this.#caller(connection, headers));

  /** For the pages of operators: why not, if not. */
  judgePage(path: string, request: NodeRequest): ServiceError | undefined {
    return this.#control.judgePage(path, this.#caller(connectionOfRequest(request), request.headers));
  }

  /** What this node shows to other nodes. */
  readonly authorization = (): string | undefined => {
    const token = this.#peerToken?.current;
    return token === undefined ? undefined : bearer(token);
  };

  /** What was counted, for a scrape. */
  writeMetrics(text: PrometheusText): void {
    text.gauge("access_tokens", "Tokens that this node knows.", this.#control.tokens?.entries.length ?? 0);
    const failures = (this.#tokens?.failures ?? 0) + (this.#peerToken?.failures ?? 0);
    text.counter("access_reload_failures_total", "Changed files of tokens that were of no use.", failures);
    for (const { reason, service, count } of this.#control.refusals) {
      text.counter("access_refused_total", "Calls that were not let in.", count, { reason, service });
    }
  }

  /** Looks at the files now. Resolves with whether any of them has changed. */
  async reload(): Promise<boolean> {
    const changed = await Promise.all([this.#tokens?.reload(), this.#peerToken?.reload()]);
    return changed.includes(true);
  }

  close(): void {
    this.#tokens?.close();
    this.#peerToken?.close();
  }

  #caller(
    connection: Connection,
    {
      authorization,
      host,
    }: { readonly authorization?: string | undefined; readonly host?: string | undefined },
  ): Caller {
    const { remoteAddress, isCertified, certificateNames } = connection;
    const names = this.#tls?.peerNames;
    const isPeer =
      isCertified && (names === undefined || certificateNames.some((name) => names.includes(name)));
    // A web page whose name was made to lead here comes from this machine too, and so does what a proxy on it passes on.
    const isLocal = isLoopback(remoteAddress) && (host === undefined || isLocalName(host));
    return { remoteAddress, isLocal, isCertified, isPeer, authorization };
  }
}

/** The file of tokens holds hashes; this one holds what lets everybody in who reads it. */
async function warnIfReadable(path: string, logger: Logger): Promise<void> {
  const { mode } = await stat(path).catch(() => ({ mode: 0 }));
  if ((mode & READABLE_BY_ALL) === 0) return;
  logger.warn(
    { file: path },
    "everybody on this machine can read the peer token: take their permission away",
  );
}

/** Whether a Host header, with or without a port, names this machine from within. */
function isLocalName(host: string): boolean {
  const [, name = ""] = /^(\[[^\]]*\]|[^:]*)(:\d*)?$/.exec(host) ?? [];
  return isLoopbackHost(name.replace(/^\[(.*)\]$/, "$1").toLowerCase());
}

/** @throws AccessConfigInvalid when clients or peers could not be let in, or could not be told from anybody else */
function requireWay({ access = {}, tls, insecurePeers, addresses, hasPeers }: NodeAccessOptions): void {
  if (access.anonymous === true) return;
  const isMutual = tls?.caFile !== undefined;
  if (access.tokensFile !== undefined) {
    if (isMutual || access.peerTokenFile !== undefined || !hasPeers) return;
    throw new AccessConfigInvalid(
      "this node has tokens but nothing to show to other nodes, which have them too: " +
        "give it authorities for mutual TLS (tls.caFile; --tls-ca), or a token with the role peer (access.peerTokenFile; --peer-token-file)",
    );
  }
  if (isMutual || insecurePeers === true) return;
  for (const [name, address] of Object.entries(addresses)) {
    if (address === undefined || isLoopbackHost(address.host)) continue;
    throw new AccessConfigInvalid(
      `${name} ${formatAddress(address)} is reached from other machines, but nothing tells who calls: ` +
        "give this node authorities for mutual TLS (tls.caFile; --tls-ca) or tokens (access.tokensFile; --tokens), or say that everybody may do everything (access.anonymous; --anonymous)",
    );
  }
}

function warn(
  { access = {}, tls, logger }: NodeAccessOptions,
  tokens: TokenTable | undefined,
  peerToken: string | undefined,
): void {
  if (tokens === undefined) {
    if (tls !== undefined && tls.caFile === undefined) {
      logger.warn(
        { certFile: tls.certFile },
        "TLS without authorities (caFile, --tls-ca) and without tokens: what is sent is encrypted, but anybody who connects may speak as a peer",
      );
    }
    return;
  }
  if (access.anonymous === true) {
    logger.warn({}, "anonymous callers may do everything: take that away when every client has its token");
  }
  if (tls?.caFile !== undefined && tls.peerNames === undefined) {
    logger.warn(
      {},
      "tokens without names of peers (peerNames, --tls-peer-names): whoever has a certificate of the authorities may speak as a peer, without any token",
    );
  }
  if (peerToken !== undefined && tokens.find(peerToken)?.roles.includes("peer") !== true) {
    logger.warn(
      { file: access.peerTokenFile },
      "the peer token of this node is not among its own tokens with the role peer: nodes with the same file will refuse it",
    );
  }
}
