// What stands in deploy/ fits the code: settings and variables are read by the command itself, metrics are looked up in a
// scrape of a real node, ports and grace periods are compared between the files. Nothing is built or applied here: that
// takes Docker and Kubernetes.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { OTHER_VARIABLES } from "../src/cli/config/configuration.js";
import { environmentName, SETTING_NAMES, SETTINGS } from "../src/cli/config/settings.js";
import { type PlacementCenter, startPlacementCenter } from "../src/placement/server.js";
import { runInProcess } from "./cli/recorded-output.js";
import { filesUnder, PROJECT_ROOT, readText } from "./support/source-files.js";
import { yamlProblems } from "./support/yaml-problems.js";

const PEER_PORT = "7001";
const HTTP_PORT = "8001";
const USER = "10001";
/** What a node may need to stop: 30 s of its own, 2 s of its listeners. */
const LEAST_GRACE_SECONDS = 32;

const dockerfile = readText("deploy/Dockerfile");
const compose = readText("deploy/compose.yaml");
const kubernetes = readText("deploy/kubernetes/statefulset.yaml");
const unit = readText("deploy/systemd/placement-center.service");
const alerts = readText("deploy/prometheus/alerts.yaml");
const dashboard = readText("deploy/grafana/dashboard.json");
const files = filesUnder("deploy");

let folder = "";
let center: PlacementCenter | undefined;
let baseUrl = "";

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "placement-center-deploy-"));
  const other = "127.0.0.1:1";
  // The other member never answers: what is counted of peers is shown all the same.
  center = await startPlacementCenter({
    id: 1n,
    clusterId: "deploy",
    dataDir: join(folder, "data"),
    listen: "127.0.0.1:0",
    http: "127.0.0.1:0",
    members: new Map([
      [1n, "127.0.0.1:2"],
      [2n, other],
    ]),
  });
  baseUrl = `http://127.0.0.1:${center.httpAddress?.port}`;
});

afterAll(async () => {
  await center?.stop();
  rmSync(folder, { recursive: true, force: true });
});

test("the package brings these files along, and the documents lead to them", () => {
  const manifest: { files: string[] } = JSON.parse(readText("package.json"));
  expect(manifest.files).toContain("deploy");
  for (const path of ["README.md", "docs/operations.md"])
    expect(readText(path)).toContain("deploy/README.md)");
});

describe("every file", () => {
  test.each(files.filter((path) => path.endsWith(".yaml")))("%s is well-formed YAML", (path) => {
    expect(yamlProblems(readText(path))).toEqual([]);
  });

  test("with a mistake is found out", () => {
    const mistakes = ["a:\n\tb: 1", "a: 1\na: 2", "a:\n   b: 1", "a: [1", "a: 1\n  b: 2", 'a: "b', "words"];
    expect(mistakes.filter((text) => yamlProblems(text).length === 0)).toEqual([]);
    expect(yamlProblems('- a: 1\n  b: |\n    c: d: e\n- a: 2\n---\na: {}\nb: ["x"]\n')).toEqual([]);
  });

  test("that the README names exists, and the README names every file", () => {
    const readme = readText("deploy/README.md");
    const linked = [...readme.matchAll(/\]\(\.\.\/([^)#]+)/g)].map(([, path = ""]) => path);
    for (const path of linked) expect(() => readText(path), path).not.toThrow();
    const own = files.map((path) => path.replace("deploy/", "")).filter((path) => path !== "README.md");
    expect(own.filter((path) => !readme.includes(`\`${path}\``))).toEqual([]);
  });

  test("sets only variables that the command knows", () => {
    const known = new Set([
      ...SETTING_NAMES.map((name) => environmentName(SETTINGS[name].key)),
      ...OTHER_VARIABLES,
    ]);
    const wrong = files.flatMap((path) =>
      [...readText(path).matchAll(/\bPLACEMENT_\w+/g)]
        .map(([name]) => name)
        .filter((name) => !known.has(name))
        .map((name) => `${path} sets ${name}`),
    );
    expect(wrong).toEqual([]);
  });

  test("that starts a node gives the disk eight threads and the node time to stop", () => {
    const threads = [dockerfile, compose, kubernetes, unit].map(
      (text) => /UV_THREADPOOL_SIZE(?:=|: |\n\s+value: )"?(\d+)/.exec(text)?.[1],
    );
    expect(threads).toEqual(["8", "8", "8", "8"]);
    const graces = [
      only(compose, /stop_grace_period: (\d+)s/g),
      only(kubernetes, /terminationGracePeriodSeconds: (\d+)/g),
      only(unit, /^TimeoutStopSec=(\d+)$/gm),
    ];
    expect(new Set(graces).size).toBe(1);
    expect(Number(graces[0])).toBeGreaterThan(LEAST_GRACE_SECONDS);
  });
});

describe("the image", () => {
  const stages = dockerfile.split(/^FROM /m).slice(1);
  const last = stages.at(-1) ?? "";

  test("runs as a user who is not root, and whom Kubernetes and its own folder know by the same number", () => {
    const user = only(last, /^USER (\S+)$/gm);
    expect(user).toBe(`${USER}:${USER}`);
    expect(last.indexOf("\nUSER ")).toBeLessThan(last.indexOf("\nENTRYPOINT "));
    expect(last.indexOf("\nUSER ")).toBeGreaterThan(last.lastIndexOf("\nRUN "));
    expect(last).toContain(`--owner=${USER} --group=${USER}`);
    expect(kubernetes).toContain("runAsNonRoot: true");
    for (const key of ["runAsUser", "runAsGroup", "fsGroup"]) {
      expect(kubernetes).toContain(`${key}: ${USER}\n`);
    }
  });

  test("is built of Node 20 in two stages, with locked packages, and keeps none for development", () => {
    expect(stages.map((stage) => stage.split(/\s/)[0])).toEqual([
      "node:20-bookworm-slim",
      "node:20-bookworm-slim",
    ]);
    expect(stages[0]).toContain("RUN npm ci\n");
    expect(stages[0]).toContain("npm prune --omit=dev");
    expect(last).not.toMatch(/npm|COPY (\.|src)/);
  });

  test("copies only files that exist and that its .dockerignore lets in", () => {
    const allowed = readText("deploy/Dockerfile.dockerignore")
      .split("\n")
      .filter((line) => line.startsWith("!"))
      .map((line) => line.slice(1));
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, names = ""]) =>
      names.split(" "),
    );
    expect([...copied].sort()).toEqual([...allowed].sort());
    for (const name of copied) expect(existsSync(join(PROJECT_ROOT, name)), name).toBe(true);
  });

  test("links the command that package.json names", () => {
    const { bin }: { bin: Record<string, string> } = JSON.parse(readText("package.json"));
    expect(last).toContain(
      `ln -s /opt/placement-center/${bin["placement-center"]} /usr/local/bin/placement-center`,
    );
    expect(unit).toMatch(
      new RegExp(`^ExecStart=\\S+ /opt/placement-center/${bin["placement-center"]} `, "m"),
    );
    const { version }: { version: string } = JSON.parse(readText("package.json"));
    for (const text of [dockerfile, compose, kubernetes, readText("deploy/README.md")]) {
      expect(new Set([...text.matchAll(/placement-center:(\d\S*)/g)].map(([, tag]) => tag))).toEqual(
        new Set([version]),
      );
    }
  });

  test.each([
    [200, 0],
    [503, 1],
  ])("is as healthy as /readyz: after %i the check ends with %i", async (answer, status) => {
    const server = createServer((request, response) => {
      response.writeHead(request.url === "/readyz" ? answer : 404).end("as asked");
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(() => void server.close());
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    expect(await healthcheck(`http://127.0.0.1:${port}/readyz`)).toBe(status);
  });

  test("is not healthy while nobody listens, nor while a real node knows no leader", async () => {
    expect(await healthcheck("http://127.0.0.1:1/readyz")).toBe(1);
    expect(await healthcheck(`${baseUrl}/readyz`)).toBe(1);
    expect(await healthcheck(`${baseUrl}/livez`)).toBe(0);
  });
});

describe("the settings", () => {
  test.each([1, 2, 3])("of node %i in compose.yaml are what a node would start with", async (id) => {
    const environment = { ...variablesOf(blockOf(compose, "x-environment")), PLACEMENT_ID: `${id}` };
    expect(blockOf(compose, `  node-${id}`)).toContain(`PLACEMENT_ID: "${id}"`);
    expect(blockOf(compose, `  node-${id}`)).toContain(`hostname: node-${id}\n`);
    const settings = await effective(environment);
    expect(settings["members"]).toContain(`${id}=node-${id}:${PEER_PORT}`);
    expect(settings["insecure-peers"]).toBe("true");
    expectUsualPorts(settings);
  });

  test.each([0, 1, 2])("of pod %i are what a node would start with", async (pod) => {
    const text = blockOf(kubernetes, `  placement-center-${pod}.toml`);
    const settings = await effective({}, fileWith(text.replace(/^ {4}/gm, "")));
    expect(settings["id"]).toBe(`${pod + 1}`);
    const [service, namespace] = [only(kubernetes, /serviceName: (\S+)/g), "placement"];
    const address = `placement-center-${pod}.${service}.${namespace}.svc:${PEER_PORT}`;
    expect(settings["advertise"]).toBe(address);
    expect(settings["members"]).toContain(`${pod + 1}=${address}`);
    expectMounted(settings);
    expectUsualPorts(settings);
  });

  test("of the machine under systemd are what a node would start with", async () => {
    const settings = await effective({}, fileWith(readText("deploy/systemd/node.toml")));
    expect(settings["members"]).toContain(`1=${settings["advertise"]}`);
    expect(settings["data"]).toMatch(new RegExp(`^/var/lib/${only(unit, /^StateDirectory=(\S+)$/gm)}/`));
    expectUsualPorts(settings);
  });

  test("that the image has are what a node would start with, once it has an id and a cluster", async () => {
    const set = [...dockerfile.matchAll(/(PLACEMENT_\w+)=(\S+)/g)].map(([, name = "", value = ""]) => [
      name,
      value,
    ]);
    const settings = await effective({
      ...Object.fromEntries(set),
      PLACEMENT_ID: "1",
      PLACEMENT_CLUSTER_ID: "c",
      PLACEMENT_JOIN: "true",
    });
    expectUsualPorts(settings);
    expect(settings["data"]).toContain(only(dockerfile, /^VOLUME (\S+)$/gm));
    // Variables win over a file: where a file is mounted, each of them is taken back.
    for (const [name] of set) expect(kubernetes).toContain(`- name: ${name}\n              value: ""\n`);
  });
});

describe("ports and probes", () => {
  test("agree in all files", () => {
    expect(only(dockerfile, /^EXPOSE (.+)$/gm)).toBe(`${PEER_PORT} ${HTTP_PORT}`);
    expect([...kubernetes.matchAll(/(?:port|containerPort): (\d+)/g)].map(([, port]) => port)).toEqual([
      PEER_PORT,
      HTTP_PORT,
      PEER_PORT,
      HTTP_PORT,
    ]);
    const wrong = files.flatMap((path) =>
      [...readText(path).matchAll(/[a-z0-9]:(\d{4,5})(?=[/",\s`]|$)/g)]
        .filter(([, port = ""]) => port !== PEER_PORT && port !== HTTP_PORT)
        .filter(([, port]) => port !== USER)
        .map(([found]) => `${path}: ${found}`),
    );
    expect(wrong).toEqual([]);
  });

  test("ask for pages that a node has, over TLS where it has certificates", async () => {
    const paths = [
      ...kubernetes.matchAll(/(\w+)Probe:\n\s+httpGet:\n\s+path: (\S+)\n\s+port: http\n\s+scheme: HTTPS/g),
    ];
    expect(paths.map(([, kind, path]) => `${kind} ${path}`)).toEqual([
      "startup /livez",
      "liveness /livez",
      "readiness /readyz",
    ]);
    const statuses = ["/livez", "/readyz"].map(async (path) => (await fetch(`${baseUrl}${path}`)).status);
    expect(await Promise.all(statuses)).toEqual([200, 503]);
  });
});

describe("alerts and dashboard", () => {
  let exported: ReadonlySet<string> = new Set();
  let labels: ReadonlySet<string> = new Set();

  beforeAll(async () => {
    // A peer is counted from the first message to it on: the node campaigns within seconds.
    const scrape = await vi.waitFor(
      async () => {
        const text = await (await fetch(`${baseUrl}/metrics`)).text();
        expect(text).toContain('raftnode_network_peer_sent_failures_total{To="2"');
        return text;
      },
      { timeout: 20_000, interval: 50 },
    );
    exported = new Set([...scrape.matchAll(/^(\w+)[ {]/gm)].map(([, name = ""]) => name));
    labels = new Set([...scrape.matchAll(/[{,](\w+)="/g)].map(([, name = ""]) => name));
  });

  /** These exist once something was received from a peer, and with TLS. */
  const NOT_HERE: readonly string[] = [
    "raftnode_network_peer_received_failures_total",
    "raftnode_tls_certificate_expiry_timestamp_seconds",
  ];

  test.each([
    ["alerts.yaml", alerts],
    ["dashboard.json", dashboard],
  ])("%s names only metrics that a node exports", (_, text) => {
    const source = readText("src/embed/prometheus.ts");
    const named = new Set([...text.matchAll(/\b(?:raftnode|process|nodejs)_\w+/g)].map(([name]) => name));
    const wrong = [...named].filter((name) => {
      if (NOT_HERE.includes(name)) return !source.includes(`"${name.replace("raftnode_", "")}"`);
      return !exported.has(name);
    });
    expect(named.size).toBeGreaterThan(5);
    expect(wrong).toEqual([]);
  });

  test("the alerts are about what docs/metrics.md says to watch", () => {
    for (const name of [
      "raftnode_server_has_leader",
      "raftnode_server_leader_changes_seen_total",
      "raftnode_disk_wal_fsync_duration_seconds_bucket",
      "raftnode_server_proposals_applied_total",
      "raftnode_server_out_of_space",
      "raftnode_disk_log_in_use_size_bytes",
    ]) {
      expect(alerts).toContain(name);
    }
    expect(alerts).toContain(`* ${SETTINGS.logQuotaBytes.fallback}\n`);
  });

  test("every rule has an expression, a severity and words, under a name of its own", () => {
    const rules = alerts.split(/^ {6}- alert: /m).slice(1);
    const names = rules.map((rule) => rule.split("\n")[0]);
    expect(new Set(names).size).toBe(names.length);
    for (const rule of rules) {
      expect(rule).toMatch(/\n {8}expr: \S/);
      expect(rule).toMatch(/\n {10}severity: (warning|critical)\n/);
      expect(rule).toMatch(/\n {10}summary: ".+"\n {10}description: ".+"/);
    }
    for (const expression of alerts.match(/expr: .*/g) ?? []) expect(balanced(expression)).toBe(true);
  });

  test("labels in words and legends are labels that samples have", () => {
    const known = new Set([...labels, "instance", "reason", "From", "file"]);
    const used = [...`${alerts}${dashboard}`.matchAll(/\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}/g)];
    expect(used.map(([, name = ""]) => name).filter((name) => !known.has(name))).toEqual([]);
  });

  test("the dashboard's panels have ids, places and queries of their own", () => {
    const { panels }: { panels: readonly Panel[] } = JSON.parse(dashboard);
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const places = panels.map(({ gridPos }) => `${gridPos.x},${gridPos.y}`);
    expect(new Set(places).size).toBe(panels.length);
    for (const { title, gridPos, targets } of panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      expect(targets.length, title).toBeGreaterThan(0);
      for (const { expr } of targets) expect(balanced(expr), expr).toBe(true);
    }
  });
});

interface Panel {
  readonly id: number;
  readonly title: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number };
  readonly targets: readonly { readonly expr: string }[];
}

/** What `start --check-config` makes of variables and a file: it refuses what a node would refuse. */
async function effective(
  variables: Readonly<Record<string, string>>,
  file?: string,
): Promise<Record<string, string | null>> {
  for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
  onTestFinished(() => {
    vi.unstubAllEnvs();
  });
  const from = file === undefined ? [] : ["--config", file];
  const { status, lines, notes } = await runInProcess("start", ...from, "--check-config", "--json");
  expect(status, notes).toBe(0);
  const settings: Record<string, { value: string | null }> = JSON.parse(lines[0] ?? "");
  return Object.fromEntries(Object.entries(settings).map(([key, { value }]) => [key, value]));
}

function expectUsualPorts(settings: Readonly<Record<string, string | null>>): void {
  expect(settings["listen"]).toBe(`0.0.0.0:${PEER_PORT}`);
  expect(settings["http"]).toBe(`0.0.0.0:${HTTP_PORT}`);
}

/** Every file that a pod's settings name lies in a folder that is mounted from a secret that the README makes. */
function expectMounted(settings: Readonly<Record<string, string | null>>): void {
  for (const key of ["tls-cert", "tls-key", "tls-ca", "tokens"]) {
    const [, path = "", file = ""] = /^(.+)\/([^/]+)$/.exec(settings[key] ?? "") ?? [];
    const mount = new RegExp(`- name: (\\S+)\n\\s+mountPath: ${path}\n`).exec(kubernetes)?.[1];
    const secret = new RegExp(`- name: ${mount}\n\\s+secret:\n\\s+secretName: (\\S+)`).exec(kubernetes)?.[1];
    expect(secret, key).toBeDefined();
    const made = new RegExp(`secret generic ${secret}[^\n]*(\\\\\n[^\n]*)?--from-file=${file}`);
    expect(readText("deploy/README.md")).toMatch(made);
  }
}

function fileWith(text: string): string {
  const file = join(mkdtempSync(join(folder, "settings-")), "node.toml");
  writeFileSync(file, text);
  return file;
}

/** The exit status of the container's health check. */
async function healthcheck(url: string): Promise<unknown> {
  const script = join(PROJECT_ROOT, "deploy/docker/healthcheck.mjs");
  const child = spawn(process.execPath, [script], {
    env: { ...process.env, HEALTHCHECK_URL: url },
    stdio: "ignore",
  });
  const [status]: unknown[] = await once(child, "exit");
  return status;
}

/** The lines below a key that are indented more than it is. */
function blockOf(yaml: string, key: string): string {
  const lines = yaml.split("\n");
  const start = lines.findIndex((line) => line.startsWith(`${key}:`));
  expect(start, `there is no ${key}`).toBeGreaterThanOrEqual(0);
  const indent = key.length - key.trimStart().length;
  const after = lines.slice(start + 1);
  const end = after.findIndex((line) => line !== "" && line.length - line.trimStart().length <= indent);
  return after.slice(0, end < 0 ? after.length : end).join("\n");
}

function variablesOf(block: string): Record<string, string> {
  const pairs = [...block.matchAll(/^\s+(PLACEMENT_\w+): "?([^"\n]*)"?$/gm)];
  return Object.fromEntries(pairs.map(([, name = "", value = ""]) => [name, value]));
}

/** The one thing that a text says in this place. */
function only(text: string, pattern: RegExp): string {
  const found = [...text.matchAll(pattern)].map(([, value = ""]) => value);
  expect(found, `${pattern}`).toHaveLength(1);
  return found[0] ?? "";
}

function balanced(expression: string): boolean {
  const open: string[] = [];
  const pairs: Readonly<Record<string, string>> = { ")": "(", "}": "{", "]": "[" };
  for (const sign of expression.replaceAll(/"[^"]*"/g, "")) {
    if ("({[".includes(sign)) open.push(sign);
    else if (sign in pairs && open.pop() !== pairs[sign]) return false;
  }
  return open.length === 0;
}
