// gRPC server reflection, under the name of today and that of older tools: what is served here, as descriptors, so that
// grpcurl and its like need no proto files. Made from the descriptors that the generated code carries.

import { createRegistry, type DescFile, type DescService, type Registry, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, type ConnectRouter } from "@connectrpc/connect";
import { ServerReflection, type ServerReflectionRequest } from "../gen/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as ServerReflectionAlpha } from "../gen/grpc/reflection/v1alpha/reflection_pb.js";
import { RaftNodeError } from "../node/errors.js";
import type { LeaderCalls } from "./leader-calls.js";

export interface ReflectionRoutesOptions {
  readonly calls: LeaderCalls;
  /** What is served here besides reflection itself. */
  readonly services: () => readonly DescService[];
  /** Conversations at a time; more are refused. Default 100. */
  readonly maxStreams?: number | undefined;
}

/** As a message of either version. */
type Answer =
  | { readonly case: "listServicesResponse"; readonly value: { service: { name: string }[] } }
  | { readonly case: "fileDescriptorResponse"; readonly value: { fileDescriptorProto: Uint8Array[] } }
  | { readonly case: "allExtensionNumbersResponse"; readonly value: { baseTypeName: string } }
  | { readonly case: "errorResponse"; readonly value: { errorCode: number; errorMessage: string } };

type Question = ServerReflectionRequest["messageRequest"];

const DEFAULT_MAX_STREAMS = 100;

/** Mounts grpc.reflection.v1 and v1alpha on a Connect router; their calls need HTTP/2. */
export function reflectionRoutes(options: ReflectionRoutesOptions): (router: ConnectRouter) => void {
  const { calls, services, maxStreams = DEFAULT_MAX_STREAMS } = options;
  let streams = 0;

  async function* answer<T extends { readonly host: string; readonly messageRequest: ForeignQuestion }>(
    questions: AsyncIterable<T>,
    signal: AbortSignal,
  ) {
    if (streams >= maxStreams) {
      throw new RaftNodeError("inboxFull", `${streams} conversations about reflection are open on this node`);
    }
    streams += 1;
    try {
      const served = new Served([...services(), ServerReflection, ServerReflectionAlpha]);
      for await (const question of until(questions, signal)) {
        yield {
          validHost: question.host,
          originalRequest: question,
          messageResponse: served.answer(question.messageRequest),
        };
      }
    } finally {
      streams -= 1;
    }
  }

  return (router) => {
    router.service(ServerReflection, {
      serverReflectionInfo: (questions, context) =>
        calls.stream(context, (signal) => answer(questions, signal)),
    });
    router.service(ServerReflectionAlpha, {
      serverReflectionInfo: (questions, context) =>
        calls.stream(context, (signal) => answer(questions, signal)),
    });
  };
}

/** The two versions differ in the names of their types only. */
type ForeignQuestion = {
  readonly case: Question["case"];
  readonly value?: unknown;
};

class Served {
  readonly #services: readonly DescService[];
  readonly #files = new Map<string, DescFile>();
  readonly #registry: Registry;

  constructor(services: readonly DescService[]) {
    this.#services = services;
    for (const { file } of services) this.#addFile(file);
    this.#registry = createRegistry(...this.#files.values());
  }

  answer(question: ForeignQuestion): Answer {
    const name = typeof question.value === "string" ? question.value : "";
    switch (question.case) {
      case "listServices":
        return {
          case: "listServicesResponse",
          value: { service: this.#services.map(({ typeName }) => ({ name: typeName })) },
        };
      case "fileByFilename":
        return fileAnswer(this.#files.get(name), `there is no file ${JSON.stringify(name)} here`);
      case "fileContainingSymbol":
        return fileAnswer(this.#fileOf(name), `there is no symbol ${JSON.stringify(name)} here`);
      case "allExtensionNumbersOfType":
        return this.#registry.getMessage(name) === undefined
          ? refusal(Code.NotFound, `there is no type ${JSON.stringify(name)} here`)
          : { case: "allExtensionNumbersResponse", value: { baseTypeName: name } };
      case "fileContainingExtension":
        return refusal(Code.NotFound, "there are no extensions here");
      case undefined:
        return refusal(Code.InvalidArgument, "the request asks nothing");
    }
  }

  #addFile(file: DescFile): void {
    if (this.#files.has(file.proto.name)) return;
    this.#files.set(file.proto.name, file);
    for (const imported of file.dependencies) this.#addFile(imported);
  }

  /** Services, types, and what is declared inside of them: methods, fields, values of enums. */
  #fileOf(symbol: string): DescFile | undefined {
    const name = symbol.replace(/^\./, "");
    const parent = name.slice(0, Math.max(0, name.lastIndexOf(".")));
    const own = name.slice(parent.length + 1);
    const direct = this.#registry.get(name);
    if (direct !== undefined) return direct.file;
    const owner = this.#registry.get(parent);
    switch (owner?.kind) {
      case "service":
        return owner.methods.some((method) => method.name === own) ? owner.file : undefined;
      case "message":
        return owner.members.some((member) => member.name === own) ? owner.file : undefined;
      case "enum":
        return owner.values.some((value) => value.name === own) ? owner.file : undefined;
      case "extension":
      case undefined:
        return undefined;
    }
  }
}

/** The file, and whatever it imports. */
function fileAnswer(file: DescFile | undefined, otherwise: string): Answer {
  if (file === undefined) return refusal(Code.NotFound, otherwise);
  const files = new Set<DescFile>();
  const add = (each: DescFile): void => {
    for (const imported of each.dependencies) add(imported);
    files.add(each);
  };
  add(file);
  // The one that was asked for comes first.
  const inOrder = [...files].reverse();
  return {
    case: "fileDescriptorResponse",
    value: { fileDescriptorProto: inOrder.map(({ proto }) => toBinary(FileDescriptorProtoSchema, proto)) },
  };
}

function refusal(code: Code, message: string): Answer {
  return { case: "errorResponse", value: { errorCode: code, errorMessage: message } };
}

/** Ends when the signal fires, whether or not there is another one to come. */
async function* until<T>(items: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  const iterator = items[Symbol.asyncIterator]();
  const ended = new Promise<undefined>((resolve) => {
    signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
  for (;;) {
    const next = iterator.next();
    // It fails, unheard, when the signal was first.
    next.catch(() => {});
    const item = await Promise.race([next, ended]);
    if (item === undefined || item.done === true || signal.aborted) return;
    yield item.value;
  }
}
