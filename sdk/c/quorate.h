/* The Quorate ABI, version 1, for plugins in C: what the host offers, what a plugin exports, and
 * helpers to write one with. docs/src/abi.md tells what all of it means; plugins/counter-c shows a
 * whole plugin. Compile for wasm32 with clang, for a freestanding environment, with bulk memory.
 *
 * What this deliberately does not have: a C library, and more of protobuf than fields one by one.
 */
#ifndef QUORATE_H
#define QUORATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Numbers of the ABI ---------------------------------------------------------------------- */

#define QUORATE_IMPORT_MODULE "quorate_v1"
#define QUORATE_MANIFEST_SECTION "quorate_v1"

/* Answers that are no lengths. */
#define QUORATE_NO_MORE (-1)
#define QUORATE_ABSENT (-1)

/* How the previous call ended. */
#define QUORATE_VERDICT_NONE 0u
#define QUORATE_VERDICT_REPLY 1u
#define QUORATE_VERDICT_REFUSED 2u

/* Layouts: bytes before what varies in length. */
#define QUORATE_FRAME_HEADER_BYTES 40u
#define QUORATE_STATUS_HEADER_BYTES 8u
#define QUORATE_PAGE_HEADER_BYTES 8u
#define QUORATE_PAIR_HEADER_BYTES 8u

/* Flags of a scan. */
#define QUORATE_SCAN_REVERSE 1u
#define QUORATE_SCAN_KEYS_ONLY 2u

/* Limits that a plugin can run into. */
#define QUORATE_KEY_BYTES_MAX 4096u
#define QUORATE_VALUE_BYTES_MAX 1048576u
#define QUORATE_REPLY_BYTES_MAX 4194304u

/* Levels of log lines. */
#define QUORATE_LOG_ERROR 1u
#define QUORATE_LOG_WARN 2u
#define QUORATE_LOG_INFO 3u
#define QUORATE_LOG_DEBUG 4u
#define QUORATE_LOG_TRACE 5u

/* The error codes of gRPC that state machines use most; 1 to 16 are taken. */
#define QUORATE_INVALID_ARGUMENT 3u
#define QUORATE_NOT_FOUND 5u
#define QUORATE_ALREADY_EXISTS 6u
#define QUORATE_RESOURCE_EXHAUSTED 8u
#define QUORATE_FAILED_PRECONDITION 9u
#define QUORATE_ABORTED 10u
#define QUORATE_OUT_OF_RANGE 11u
#define QUORATE_UNIMPLEMENTED 12u
#define QUORATE_INTERNAL 13u

/* ---- What the host offers -------------------------------------------------------------------- */

#define QUORATE_IMPORT(name) \
    __attribute__((import_module(QUORATE_IMPORT_MODULE), import_name(#name)))

QUORATE_IMPORT(next)
int64_t quorate_import_next(uint32_t verdict, const void *reply, uint32_t reply_len, void *buf,
                            uint32_t cap);
QUORATE_IMPORT(kv_get)
int64_t quorate_import_kv_get(const void *key, uint32_t key_len, void *buf, uint32_t cap);
QUORATE_IMPORT(kv_put)
void quorate_import_kv_put(const void *key, uint32_t key_len, const void *value,
                           uint32_t value_len);
QUORATE_IMPORT(kv_delete)
int64_t quorate_import_kv_delete(const void *key, uint32_t key_len);
QUORATE_IMPORT(kv_delete_range)
int64_t quorate_import_kv_delete_range(const void *lo, uint32_t lo_len, const void *hi,
                                       uint32_t hi_len);
QUORATE_IMPORT(kv_scan)
int64_t quorate_import_kv_scan(const void *lo, uint32_t lo_len, const void *hi, uint32_t hi_len,
                               uint32_t flags, uint32_t limit, void *buf, uint32_t cap);
QUORATE_IMPORT(log)
void quorate_import_log(uint32_t level, const void *text, uint32_t text_len);
QUORATE_IMPORT(abort)
_Noreturn void quorate_import_abort(const void *text, uint32_t text_len, uint32_t line);

/* ---- What a plugin exports ------------------------------------------------------------------- */

#define QUORATE_EXPORT(name) __attribute__((export_name(#name)))

/* Defines the exports: commands go to one function, queries to another. Each takes a call and
 * returns its answer; see quorate_handler. Once in a plugin. */
#define QUORATE_PLUGIN(on_command, on_query)                                        \
    QUORATE_EXPORT(quorate_abi_v1) void quorate_abi_v1(void) {}                     \
    QUORATE_EXPORT(quorate_apply) void quorate_apply(void) { quorate_serve(on_command); } \
    QUORATE_EXPORT(quorate_query) void quorate_query(void) { quorate_serve(on_query); }

/* ---- Bytes and memory ------------------------------------------------------------------------ */

/* Some bytes that are kept elsewhere. */
typedef struct {
    const uint8_t *data;
    uint32_t len;
} quorate_bytes;

/* The bytes of a string literal. */
#define QUORATE_BYTES(literal) \
    ((quorate_bytes){(const uint8_t *)(literal), (uint32_t)(sizeof(literal) - 1)})

/* Ends the call with a trap: what it wrote is undone, the caller gets INTERNAL and the text. */
#define quorate_abort(literal) \
    quorate_import_abort((literal), (uint32_t)(sizeof(literal) - 1), __LINE__)

/* Writes a line to the host's log. */
static inline void quorate_log(uint32_t level, quorate_bytes text)
{
    quorate_import_log(level, text.data, text.len);
}

static inline void quorate_copy(void *to, const void *from, uint32_t len)
{
    __builtin_memcpy(to, from, len);
}

/* Where free memory begins; the linker knows. */
extern unsigned char __heap_base;

static uintptr_t quorate_heap_top;

/* Memory for as long as the call lasts. Nothing needs to be freed: quorate_serve() takes all of it
 * back with the next call. */
static inline void *quorate_alloc(uint32_t len)
{
    const uintptr_t page = 65536;
    uintptr_t start = (quorate_heap_top + 15) & ~(uintptr_t)15;
    uintptr_t have = __builtin_wasm_memory_size(0) * page;
    if (len > UINT32_MAX - page - start)
        quorate_abort("out of memory");
    if (start + len > have) {
        uintptr_t pages = (start + len - have + page - 1) / page;
        if (__builtin_wasm_memory_grow(0, pages) == SIZE_MAX)
            quorate_abort("out of memory");
    }
    quorate_heap_top = start + len;
    return (void *)start;
}

/* Integers in memory are little-endian, and so is WebAssembly; they need not be aligned. */
static inline uint32_t quorate_read_u32(const uint8_t *at)
{
    uint32_t value;
    quorate_copy(&value, at, sizeof value);
    return value;
}

static inline uint64_t quorate_read_u64(const uint8_t *at)
{
    uint64_t value;
    quorate_copy(&value, at, sizeof value);
    return value;
}

/* ---- Calls ----------------------------------------------------------------------------------- */

/* A call: where it is in the log, and the encoded request. */
typedef struct {
    uint64_t index;
    uint64_t time_ms;
    uint64_t seed;
    uint32_t position;
    uint32_t method;
    quorate_bytes payload;
} quorate_frame;

/* An answer: a verdict, and an encoded reply or status. */
typedef struct {
    uint32_t verdict;
    quorate_bytes body;
} quorate_answer;

typedef quorate_answer quorate_handler(const quorate_frame *frame);

/* The number of a method: FNV-1a of its path, such as counter.v1.Counter/Add. */
static inline uint32_t quorate_method_id(const char *path)
{
    uint32_t hash = 0x811c9dc5u;
    for (; *path; path++)
        hash = (hash ^ (uint8_t)*path) * 0x01000193u;
    return hash;
}

/* Reads a frame; false when the lengths disagree. */
static inline bool quorate_frame_read(quorate_bytes bytes, quorate_frame *frame)
{
    const uint8_t *at = bytes.data;
    if (bytes.len < QUORATE_FRAME_HEADER_BYTES)
        return false;
    frame->index = quorate_read_u64(at);
    frame->time_ms = quorate_read_u64(at + 8);
    frame->seed = quorate_read_u64(at + 16);
    frame->position = quorate_read_u32(at + 24);
    frame->method = quorate_read_u32(at + 28);
    frame->payload.len = quorate_read_u32(at + 32);
    frame->payload.data = at + QUORATE_FRAME_HEADER_BYTES;
    return frame->payload.len == bytes.len - QUORATE_FRAME_HEADER_BYTES;
}

/* The call succeeded, and what it wrote is kept. */
static inline quorate_answer quorate_reply(quorate_bytes message)
{
    return (quorate_answer){QUORATE_VERDICT_REPLY, message};
}

/* The call is refused, and what it wrote is undone. The message is UTF-8, for people. */
static inline quorate_answer quorate_refuse(uint32_t code, quorate_bytes message)
{
    uint8_t *status = quorate_alloc(QUORATE_STATUS_HEADER_BYTES + message.len);
    quorate_copy(status, &code, sizeof code);
    quorate_copy(status + 4, &message.len, sizeof message.len);
    quorate_copy(status + QUORATE_STATUS_HEADER_BYTES, message.data, message.len);
    quorate_bytes body = {status, QUORATE_STATUS_HEADER_BYTES + message.len};
    return (quorate_answer){QUORATE_VERDICT_REFUSED, body};
}

/* Pulls calls until there are no more. */
static inline void quorate_serve(quorate_handler *handle)
{
    uint32_t cap = 4096;
    quorate_heap_top = (uintptr_t)&__heap_base;
    uint8_t *buf = quorate_alloc(cap);
    quorate_answer answer = {QUORATE_VERDICT_NONE, {buf, 0}};
    for (;;) {
        int64_t len =
            quorate_import_next(answer.verdict, answer.body.data, answer.body.len, buf, cap);
        if (len == QUORATE_NO_MORE)
            return;
        /* The previous call is settled: its memory is free again. */
        quorate_heap_top = (uintptr_t)buf + cap;
        if (len > cap) {
            cap = (uint32_t)len;
            quorate_heap_top = (uintptr_t)buf;
            buf = quorate_alloc(cap);
            answer = (quorate_answer){QUORATE_VERDICT_NONE, {buf, 0}};
            continue;
        }
        quorate_frame frame;
        if (!quorate_frame_read((quorate_bytes){buf, (uint32_t)len}, &frame))
            quorate_abort("the host's frames are well-formed");
        answer = handle(&frame);
    }
}

/* ---- State ----------------------------------------------------------------------------------- */

/* The value of a key; false: there is no such key. */
static inline bool quorate_get(quorate_bytes key, quorate_bytes *value)
{
    uint32_t cap = 512;
    for (;;) {
        uint8_t *buf = quorate_alloc(cap);
        int64_t len = quorate_import_kv_get(key.data, key.len, buf, cap);
        if (len == QUORATE_ABSENT)
            return false;
        *value = (quorate_bytes){buf, (uint32_t)len};
        if (len <= cap)
            return true;
        cap = (uint32_t)len;
    }
}

/* Sets the value of a key. Traps in a query, as all that writes. */
static inline void quorate_put(quorate_bytes key, quorate_bytes value)
{
    quorate_import_kv_put(key.data, key.len, value.data, value.len);
}

/* Deletes a key; tells whether it was there. */
static inline bool quorate_delete(quorate_bytes key)
{
    return quorate_import_kv_delete(key.data, key.len) != 0;
}

/* Deletes the keys in lo..hi, and tells how many there were. An empty hi is no bound. */
static inline uint64_t quorate_delete_range(quorate_bytes lo, quorate_bytes hi)
{
    return (uint64_t)quorate_import_kv_delete_range(lo.data, lo.len, hi.data, hi.len);
}

/* A page of pairs, and what is left to read of it. */
typedef struct {
    uint32_t count;
    bool more; /* the range holds further pairs behind the last one of this page */
    const uint8_t *at;
} quorate_page;

/* One page of the pairs in lo..hi, of up to cap bytes unless one pair alone has more. An empty hi
 * is no bound, a limit of zero is none. */
static inline quorate_page quorate_scan(quorate_bytes lo, quorate_bytes hi, uint32_t flags,
                                        uint32_t limit, uint32_t cap)
{
    for (;;) {
        uint8_t *buf = quorate_alloc(cap);
        int64_t len = quorate_import_kv_scan(lo.data, lo.len, hi.data, hi.len, flags, limit, buf,
                                             cap);
        if (len <= cap)
            return (quorate_page){quorate_read_u32(buf), quorate_read_u32(buf + 4) == 1,
                                  buf + QUORATE_PAGE_HEADER_BYTES};
        cap = (uint32_t)len;
    }
}

/* The next pair of a page; false at its end. */
static inline bool quorate_page_next(quorate_page *page, quorate_bytes *key, quorate_bytes *value)
{
    if (page->count == 0)
        return false;
    key->len = quorate_read_u32(page->at);
    value->len = quorate_read_u32(page->at + 4);
    key->data = page->at + QUORATE_PAIR_HEADER_BYTES;
    value->data = key->data + key->len;
    page->at = value->data + value->len;
    page->count -= 1;
    return true;
}

/* ---- Protobuf, as much as small messages need ------------------------------------------------ */

/* Wire types. */
#define QUORATE_VARINT 0u
#define QUORATE_FIXED64 1u
#define QUORATE_LENGTH 2u
#define QUORATE_FIXED32 5u

/* A field of a message. Numbers are in value; strings, bytes and messages in bytes. */
typedef struct {
    uint32_t number;
    uint32_t wire_type;
    uint64_t value;
    quorate_bytes bytes;
} quorate_field;

/* Takes a varint off the front; false when there is none. */
static inline bool quorate_read_varint(quorate_bytes *rest, uint64_t *value)
{
    *value = 0;
    for (uint32_t shift = 0; shift < 64 && rest->len > 0; shift += 7) {
        uint8_t byte = *rest->data;
        rest->data += 1;
        rest->len -= 1;
        if (shift == 63 && byte > 1)
            return false;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

static inline bool quorate_take(quorate_bytes *rest, uint64_t len, quorate_bytes *taken)
{
    if (len > rest->len)
        return false;
    *taken = (quorate_bytes){rest->data, (uint32_t)len};
    rest->data += len;
    rest->len -= (uint32_t)len;
    return true;
}

/* Takes a field off the front of a message that is not empty; false when it is malformed. Groups
 * are not supported. A plugin ignores fields that it does not know. */
static inline bool quorate_read_field(quorate_bytes *rest, quorate_field *field)
{
    uint64_t tag;
    if (!quorate_read_varint(rest, &tag) || tag > UINT32_MAX || tag >> 3 == 0)
        return false;
    field->number = (uint32_t)(tag >> 3);
    field->wire_type = (uint32_t)(tag & 7);
    field->value = 0;
    field->bytes = (quorate_bytes){rest->data, 0};
    switch (field->wire_type) {
    case QUORATE_VARINT:
        return quorate_read_varint(rest, &field->value);
    case QUORATE_FIXED64:
        if (!quorate_take(rest, 8, &field->bytes))
            return false;
        field->value = quorate_read_u64(field->bytes.data);
        return true;
    case QUORATE_FIXED32:
        if (!quorate_take(rest, 4, &field->bytes))
            return false;
        field->value = quorate_read_u32(field->bytes.data);
        return true;
    case QUORATE_LENGTH: {
        uint64_t len;
        return quorate_read_varint(rest, &len) && quorate_take(rest, len, &field->bytes);
    }
    default:
        return false;
    }
}

/* Whether the bytes are UTF-8, as strings of protobuf and messages of a status must be. */
static inline bool quorate_is_utf8(quorate_bytes text)
{
    const uint8_t *at = text.data, *end = text.data + text.len;
    while (at < end) {
        uint8_t lead = *at++;
        if (lead < 0x80)
            continue;
        uint32_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
        if (lead < 0xc2 || lead > 0xf4 || (uint32_t)(end - at) < more)
            return false;
        /* Neither longer than needed, nor a surrogate, nor beyond the last character. */
        uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
        for (; more > 0; more--, low = 0x80, high = 0xbf) {
            uint8_t byte = *at++;
            if (byte < low || byte > high)
                return false;
        }
    }
    return true;
}

/* A message that is being written, in memory of the call. Empty to begin with: {0}. */
typedef struct {
    uint8_t *data;
    uint32_t len;
    uint32_t cap;
} quorate_writer;

static inline quorate_bytes quorate_written(const quorate_writer *writer)
{
    return (quorate_bytes){writer->data, writer->len};
}

/* Appends bytes as they are. */
static inline void quorate_write(quorate_writer *writer, quorate_bytes bytes)
{
    if (bytes.len > writer->cap - writer->len) {
        uint32_t cap = (writer->len + bytes.len) * 2 + 64;
        uint8_t *data = quorate_alloc(cap);
        quorate_copy(data, writer->data, writer->len);
        writer->data = data;
        writer->cap = cap;
    }
    quorate_copy(writer->data + writer->len, bytes.data, bytes.len);
    writer->len += bytes.len;
}

static inline void quorate_write_varint(quorate_writer *writer, uint64_t value)
{
    uint8_t bytes[10];
    uint32_t len = 0;
    for (; value >= 0x80; value >>= 7)
        bytes[len++] = (uint8_t)(value | 0x80);
    bytes[len++] = (uint8_t)value;
    quorate_write(writer, (quorate_bytes){bytes, len});
}

/* A number; zero is not written, as in proto3. */
static inline void quorate_write_uint(quorate_writer *writer, uint32_t number, uint64_t value)
{
    if (value == 0)
        return;
    quorate_write_varint(writer, (uint64_t)number << 3 | QUORATE_VARINT);
    quorate_write_varint(writer, value);
}

/* A string, bytes or a message; an empty one is not written, as strings in proto3. */
static inline void quorate_write_bytes(quorate_writer *writer, uint32_t number,
                                       quorate_bytes bytes)
{
    if (bytes.len == 0)
        return;
    quorate_write_varint(writer, (uint64_t)number << 3 | QUORATE_LENGTH);
    quorate_write_varint(writer, bytes.len);
    quorate_write(writer, bytes);
}

#endif
