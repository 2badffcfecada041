//! Every bound of the protocol and of the parsers, with its unit and its reason.

/// Bytes of one JSON body or of one NDJSON or SSE line. The longest legitimate message is a prompt.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// Bytes of all headers of one HTTP message.
pub const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// Bytes of a prompt: arguments, files and standard input together. It must fit a message after
/// JSON has escaped it, so the body limit of the generation routes is [`MAX_GENERATE_BYTES`].
pub const MAX_PROMPT_BYTES: usize = 1024 * 1024;
/// Bytes of a generation request: a prompt in which every byte became a `\u00XX` escape, plus room
/// for roles and parameters.
pub const MAX_GENERATE_BYTES: usize = 6 * MAX_PROMPT_BYTES + 64 * 1024;
/// Bytes of a list of token numbers: for each token of the longest prompt a number and a blank.
pub const MAX_TOKEN_LIST_BYTES: usize = 8 * MAX_PROMPT_BYTES;
/// Bytes of what a tokenizer says of a text: at most a token for each byte and one at either end,
/// each a line of JSON with its number, its text and its bytes; and of the text of tokens.
pub const MAX_TOKENS_ANSWER_BYTES: usize = 80 * MAX_PROMPT_BYTES;
/// Messages of one conversation.
pub const MAX_MESSAGES: usize = 4096;
/// Tools of one request (OpenAI's own bound).
pub const MAX_TOOLS: usize = 128;
/// Concurrent HTTP/2 streams on one connection: 1,000 chats and room for control requests.
pub const MAX_STREAMS: u32 = 1100;
/// Bytes that one unread HTTP/2 stream may hold back.
pub const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Bytes of the connection window: no set of unread streams can fill it.
pub const CONNECTION_WINDOW_BYTES: u32 = MAX_STREAMS * STREAM_WINDOW_BYTES;
/// Connections that an agent or a guard serves at once; a keeper needs one.
pub const MAX_CONNECTIONS: usize = 1024;
/// Milliseconds of the longest wait or deadline that anyone may ask for: a day.
pub const MAX_WAIT_MS: u64 = 24 * 60 * 60 * 1000;
/// Refused requests a second after which an agent answers everything invalid with `RATE_LIMITED`.
pub const MAX_REFUSALS_PER_SECOND: u32 = 50;

/// Hives of one configuration: each is a connection and a stream of events.
pub const MAX_HIVES: usize = 256;
/// Bytes of a hive name (RFC 1035, section 2.3.4).
pub const MAX_HIVE_NAME_BYTES: usize = 253;
/// Bytes of one label of a hive name (RFC 1035, section 2.3.4).
pub const MAX_HIVE_LABEL_BYTES: usize = 63;
/// Bytes of a worker id.
pub const MAX_WORKER_ID_BYTES: usize = 64;
/// Bytes of a model reference.
pub const MAX_MODEL_REF_BYTES: usize = 512;
/// Bytes of an alias of the configuration.
pub const MAX_ALIAS_BYTES: usize = 64;
/// Index of a device within its backend; a larger one is refused before anyone asks the hive.
pub const MAX_DEVICE_INDEX: u32 = 255;
/// Devices that one hive reports, and that a keeper reads: a full rack's GPUs fit, and all of them
/// with their figures fit one message.
pub const MAX_DEVICES: usize = 256;
/// Bytes of a device's name (NVML's own bound is 96) and of its driver's version.
pub const MAX_DEVICE_NAME_BYTES: usize = 128;
/// Bytes of a path of a unix socket. The kernel's bound is 108 (104 on macOS), with the final NUL.
pub const MAX_SOCKET_PATH_BYTES: usize = 100;

/// Stop strings of one request.
pub const MAX_STOPS: usize = 16;
/// Bytes of one stop string.
pub const MAX_STOP_BYTES: usize = 256;
/// Tokens of one request whose logits are changed by a number of their own.
pub const MAX_LOGIT_BIASES: usize = 1024;
/// Most probable tokens that are told beside each token (OpenAI's own bound).
pub const MAX_TOP_LOGPROBS: usize = 20;
/// Tokens of context that anyone may ask for: the largest models known have 10 million.
pub const MAX_CTX_SIZE: u32 = 16 * 1024 * 1024;
/// Smallest context that a worker is started with: below it not even a question fits.
pub const MIN_CTX_SIZE: u32 = 64;
/// Sequences that one worker may decode at once.
pub const MAX_SLOTS: u32 = 256;
/// Requests that may wait at one worker before `QUEUE_FULL`; `agent.max_queue` may be less.
pub const MAX_QUEUE: usize = 512;
/// Durations of past requests that the time until a full queue has room is estimated from.
pub const MAX_MEASURED_REQUESTS: usize = 32;
/// Seconds of the longest `retry_after_s`: whatever is estimated beyond that is a guess.
pub const MAX_RETRY_AFTER_S: u64 = 60 * 60;
/// Finished requests that a hive remembers, in memory and on disk.
pub const MAX_JOURNAL_ENTRIES: usize = 1000;
/// Bytes of one of them on disk.
pub const MAX_JOURNAL_ENTRY_BYTES: usize = 4 * 1024;
/// Entries that one question to the journal is answered with.
pub const MAX_JOURNAL_ANSWER: usize = 64;
/// Bytes of what a client calls itself.
pub const MAX_CLIENT_NAME_BYTES: usize = 128;
/// Bytes of the log that an agent keeps on disk, and of the log that a keeper does.
pub const MAX_LOG_BYTES: u64 = 8 * 1024 * 1024;
/// Lines of a log that may be asked for at once.
pub const MAX_LOG_LINES: u32 = 100_000;
/// Streams of logs that an agent serves at once; each reads files.
pub const MAX_LOG_STREAMS: usize = 16;
/// Events that may wait for one slow reader before its stream is cut and it must take a snapshot.
pub const MAX_EVENT_BACKLOG: usize = 1024;
/// Tokens that may wait between the decode loop and the socket of their reader.
pub const MAX_TOKEN_BACKLOG: usize = 256;
/// Workers of one hive, running or remembered.
pub const MAX_WORKERS: usize = 256;
/// Finished workers that a hive remembers, so that their cause of death can be asked for.
pub const MAX_FINISHED_WORKERS: usize = 64;

/// Times in a row that a worker which ended by itself is started again.
pub const MAX_RESTART_ATTEMPTS: u32 = 3;
/// Failures of one model on one device, within `breaker_window`, after which it is not started
/// again until somebody says so.
pub const BREAKER_FAILURES: usize = 5;
/// Models and devices whose failures are counted at once: as many as workers can have failed.
pub const MAX_BREAKERS: usize = MAX_WORKERS + MAX_FINISHED_WORKERS;
/// Bytes of what a worker's last process wrote at its end that every picture of it repeats: all
/// workers of a hive must fit one message.
pub const MAX_LAST_WORDS_BYTES: usize = 1024;

/// Bytes of an engine's stderr that its guard keeps on disk.
pub const MAX_STDERR_FILE_BYTES: u64 = 256 * 1024;
/// Bytes of an engine's stderr that travel in an exit record.
pub const MAX_STDERR_TAIL_BYTES: usize = 4 * 1024;
/// Bytes of a spec, record or exit file of a worker.
pub const MAX_RECORD_BYTES: u64 = 64 * 1024;
/// Bytes of the configuration file.
pub const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

/// Bytes of a fault's message; the rest is cut with an ellipsis.
pub const MAX_FAULT_MESSAGE_BYTES: usize = 4 * 1024;
/// Hints, causes and details of one fault.
pub const MAX_FAULT_ITEMS: usize = 16;

/// Metadata entries of a GGUF file. Real files have fewer than 100.
pub const MAX_GGUF_METADATA: u64 = 4096;
/// Tensors of a GGUF file. The largest mixtures of experts have fewer than 5,000.
pub const MAX_GGUF_TENSORS: u64 = 65_536;
/// Elements of one GGUF array. The largest vocabularies have 262,144 entries and twice the merges.
pub const MAX_GGUF_ARRAY: u64 = 4 * 1024 * 1024;
/// Bytes of one GGUF string: a chat template, a licence, a token.
pub const MAX_GGUF_STRING_BYTES: u64 = 1024 * 1024;
/// Bytes of a GGUF key (the specification's own bound, 2^16 - 1).
pub const MAX_GGUF_KEY_BYTES: u64 = 65_535;
/// Bytes of all of a GGUF file's header: metadata and tensor table.
pub const MAX_GGUF_HEADER_BYTES: u64 = 256 * 1024 * 1024;
/// Dimensions of a GGUF tensor (`GGML_MAX_DIMS`).
pub const MAX_GGUF_DIMENSIONS: u32 = 4;
/// Bytes of a GGUF tensor's name (the specification's own bound).
pub const MAX_GGUF_TENSOR_NAME_BYTES: u64 = 64;
/// Transformer blocks of a model. The deepest known have 126.
pub const MAX_MODEL_LAYERS: u32 = 1024;
/// Attention heads of one block. The widest known have 128.
pub const MAX_MODEL_HEADS: u32 = 4096;
/// Elements of one axis of a model: embedding, feed-forward block, vocabulary.
pub const MAX_MODEL_WIDTH: u32 = 4 * 1024 * 1024;

/// Experts of one block. The largest known have 512.
pub const MAX_EXPERTS: u32 = 4096;
/// Bytes of the header of a safetensors file (the format's own bound).
pub const MAX_SAFETENSORS_HEADER_BYTES: u64 = 100_000_000;
/// Dimensions of a safetensors tensor; models have at most 5.
pub const MAX_SAFETENSORS_DIMENSIONS: usize = 8;
/// Bytes of a safetensors tensor's name.
pub const MAX_SAFETENSORS_NAME_BYTES: usize = 256;
/// Bytes of a model's `config.json`; quantized ones list their tensors in it.
pub const MAX_MODEL_CONFIG_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes of the list of the tensors of a model of several files: a line for each tensor.
pub const MAX_MODEL_INDEX_BYTES: u64 = 32 * 1024 * 1024;
/// Files of weights of one model. The largest known have fewer than 200.
pub const MAX_MODEL_SHARDS: usize = 1024;

/// Bytes of the address of a hub.
pub const MAX_ENDPOINT_BYTES: usize = 512;
/// Bytes of a secret that opens repositories; those of the hub have 37.
pub const MAX_TOKEN_BYTES: usize = 512;
/// Bytes of the name of one file of a model.
pub const MAX_FILE_NAME_BYTES: usize = 512;
/// Files of a repository that are looked at.
pub const MAX_REPOSITORY_FILES: usize = 16_384;
/// Bytes of a file of a model whose digest the hub does not tell: configurations and tokenizers.
/// What has weights is kept as large files are, with theirs.
pub const MAX_SMALL_FILE_BYTES: u64 = MAX_TOKENIZER_JSON_BYTES as u64;
/// Models that a hive keeps.
pub const MAX_STORED_MODELS: usize = 4096;
/// Bytes of what is written of one of them: a line for each of [`MAX_MODEL_SHARDS`].
pub const MAX_STORED_MODEL_BYTES: u64 = 1024 * 1024;
/// Models that a hive fetches at once; the others wait.
pub const MAX_PULLS: usize = 4;
/// Times in a row, without a byte between them, that a download is begun.
pub const MAX_DOWNLOAD_ATTEMPTS: u32 = 6;

/// Bytes of a model's card (`README.md`), of which the licence is shown.
pub const MAX_MODEL_CARD_BYTES: u64 = 1024 * 1024;
/// Bytes of a `tokenizer.json`. The largest known, of 262,144 tokens, has 33 MB.
pub const MAX_TOKENIZER_JSON_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of data that a process may take which only makes tokens: some dozen times the largest
/// `tokenizer.json` or vocabulary. A hostile one can make a text grow without end.
pub const MAX_TOKENIZING_DATA_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Bytes of a chat template.
pub const MAX_TEMPLATE_BYTES: usize = 256 * 1024;
/// Bytes that a chat template may render: a prompt, its markup and tool descriptions.
pub const MAX_RENDERED_BYTES: usize = 4 * MAX_PROMPT_BYTES;
/// Instructions that a chat template may execute: some hundreds for each of [`MAX_MESSAGES`].
/// Values nest no deeper, so a preparing thread's stack ([`TEMPLATE_STACK_BYTES`]) can take them
/// apart.
pub const MAX_TEMPLATE_FUEL: u64 = 1_500_000;
/// Threads of a worker that run its chat template, so that one slow prompt does not hold up the
/// next, and slow ones cannot pile up.
pub const TEMPLATE_THREADS: usize = 2;
/// Bytes of the stack of each such thread; the system gives them page by page.
pub const TEMPLATE_STACK_BYTES: usize = 512 * 1024 * 1024;
/// Bytes of data that a CPU worker may take beyond twice the need that it was admitted with. A chat
/// template can double a text with every step: this is where it ends, and the worker with it.
pub const WORKER_DATA_SLACK_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Hundredths of one processor that a worker may be given: a thousand processors.
pub const MAX_CPU_PERCENT: u32 = 102_400;
/// Bytes that must be free on the disk of a worker's directory before it is started: its spec, its
/// records, both files of its engine's stderr, and as much again for its neighbours'.
pub const WORKER_DISK_BYTES: u64 = 1024 * 1024;
/// Models whose measured memory a hive remembers.
pub const MAX_REMEMBERED_PEAKS: usize = 256;
/// Bytes of the file of measured memory: a line of at most a kilobyte for each.
pub const MAX_PEAKS_BYTES: u64 = 256 * 1024;
/// Bytes of the file in which an agent keeps what the next one shall know.
pub const MAX_CARRYOVER_BYTES: u64 = 4 * 1024 * 1024;
/// Nesting of a chat template's calls and values.
pub const MAX_TEMPLATE_DEPTH: usize = 64;
/// Bytes of each file of messages and tools that a template is tried with.
pub const MAX_TEMPLATE_INPUT_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of a request of `rbee worker template`: both files and the template, each byte escaped.
pub const MAX_TEMPLATE_REQUEST_BYTES: usize =
    6 * (2 * MAX_TEMPLATE_INPUT_BYTES + MAX_TEMPLATE_BYTES) + 64 * 1024;
/// Seconds that a template may run on its own, with nobody who could give up waiting for it.
pub const MAX_TEMPLATE_S: u64 = 60;
/// Names that a template is said to ask for.
pub const MAX_TEMPLATE_NAMES: usize = 64;
/// Bytes of a text of a model's own that is shown: a name, a licence, a type of tokenizer.
pub const MAX_MODEL_TEXT_BYTES: usize = 200;
/// Bytes of a text that one step of a template may make of others by replacing, joining or
/// indenting: fuel counts steps alone.
pub const MAX_TEMPLATE_STEP_BYTES: usize = 4 * MAX_RENDERED_BYTES;
/// Blanks of a width, digits of a precision and lists of a division that a template may ask for.
pub const MAX_TEMPLATE_BLANKS: usize = 99_999;
