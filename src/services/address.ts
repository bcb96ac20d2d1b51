// `host:port`, as members are addressed and as it is typed on a command line.

export interface HostAndPort {
  readonly host: string;
  readonly port: number;
}

const EXAMPLE = "127.0.0.1:7001";
const HOST = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/;
const IPV6_HOST = /^\[([0-9A-Fa-f:.%]{2,64})\]$/;

/**
 * Splits `host:port`; an IPv6 host stands in brackets, and loses them here. Port 0 is allowed: "choose one".
 * @returns what is wrong as words that begin behind the name of the value, or the parts.
 */
export function splitAddress(text: string): HostAndPort | { readonly problem: string } {
  const shown = JSON.stringify(text);
  const colon = text.lastIndexOf(":");
  if (colon < 0) return { problem: `${shown} has no port: write host:port, as in ${EXAMPLE}` };
  const hostText = text.slice(0, colon);
  const portText = text.slice(colon + 1);
  const host = IPV6_HOST.exec(hostText)?.[1] ?? (HOST.test(hostText) ? hostText : undefined);
  if (host === undefined) {
    return { problem: `${shown} has no proper host: write host:port, as in ${EXAMPLE} or [::1]:7001` };
  }
  const port = /^[0-9]{1,5}$/.test(portText) ? Number(portText) : Number.NaN;
  if (!(port <= 65_535)) {
    return { problem: `${shown} has no port between 0 and 65535: write host:port, as in ${EXAMPLE}` };
  }
  return { host, port };
}

/** What keeps `text` from being an address that others can dial; undefined when nothing does. */
export function addressProblem(text: string): string | undefined {
  const parts = splitAddress(text);
  if ("problem" in parts) return parts.problem;
  return parts.port === 0 ? `${JSON.stringify(text)} has port 0, which nobody can dial` : undefined;
}

/** The opposite of `splitAddress`. */
export function formatAddress({ host, port }: HostAndPort): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
