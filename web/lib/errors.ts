/** Errors that a stream can cause: one class for each different reaction of the user. */

export class EcdcError extends Error {
  constructor(message: string) {
    super(message);
    this.name = new.target.name;
  }
}

/** A value that a function was given is not one that it takes. */
export class ArgumentError extends EcdcError {}

/** A stream cannot be read. `offset` is where the fault was found, in bytes from the start of the stream. */
export class FormatError extends EcdcError {
  constructor(
    readonly offset: number,
    readonly problem: string,
  ) {
    super(`byte ${offset}: ${problem}`);
  }
}

/** The bytes are not in .ecdc format. */
export class NotEcdc extends FormatError {}

/** The stream is in .ecdc format, but uses something that this version does not support. */
export class UnsupportedVersion extends FormatError {}

/** The stream ends too early; everything before the offset is complete. */
export class Truncated extends FormatError {}

/** The bytes contradict a checksum, the specification, or each other. */
export class Corrupt extends FormatError {}

/** The header's bytes contradict its checksum. */
export class DamagedHeader extends Corrupt {}

/** A field holds a number outside the limits of the specification. */
export class OverLimit extends FormatError {}

/** The codes need an entropy prior that is not here. */
export class MissingPrior extends FormatError {}

/** The codes belong to another token space than the model. */
export class WrongModel extends FormatError {}

/** A file, a model or the microphone cannot be had: the network, the server or the user refused it. */
export class Unavailable extends EcdcError {}

/** Return one sentence about any error, for people. */
export function sentence(error: unknown): string {
  if (error instanceof Error && error.name === "EngineError") return error.message; // it is one already
  if (error instanceof NotEcdc) return "This is not an .ecdc file.";
  if (error instanceof UnsupportedVersion) return `This version of .ecdc cannot be played here (${error.problem}).`;
  if (error instanceof Truncated) return `The file ends too early (${error.message}).`;
  if (error instanceof OverLimit) return `The file claims impossible sizes (${error.message}).`;
  if (error instanceof MissingPrior || error instanceof WrongModel) return `This page cannot play the file: ${error.problem}.`;
  if (error instanceof FormatError) return `The file is damaged (${error.message}).`;
  if (error instanceof EcdcError) return error.message.endsWith(".") ? error.message : `${error.message}.`;
  const text = error instanceof Error ? error.message : String(error);
  return `Something went wrong: ${text.split("\n")[0]}`;
}
