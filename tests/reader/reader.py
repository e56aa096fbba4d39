"""A second reader of Keepstone repositories, written from repo-format.md alone.

usage: reader.py REPOSITORY (--password-file F | --key-file F) list
       reader.py REPOSITORY (--password-file F | --key-file F) restore SNAPSHOT_ID FOLDER
"""

import json
import pathlib
import struct
import sys

import zstandard
from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305


def derive(context, data):
    return blake3(data, derive_key_context=context).digest()


def keyed(key, data):
    return blake3(data, key=key).digest()


class Input:
    """Bytes read from front to back."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise ValueError("cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self):
        return self.take(1)[0]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def signed(self):
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def bytes(self):
        return self.take(self.varint())

    def rest(self):
        return self.take(len(self.data) - self.at)

    def done(self):
        if self.at != len(self.data):
            raise ValueError("bytes behind the value")


def frame(source, kind):
    if source.take(8) != b"KSTN" + bytes([1, kind, 0, 0]):
        raise ValueError(f"not an object of kind {kind}")


def join_planes(source):
    length, packed = source.varint(), source.varint()
    around = Input(decompress(1, source.take(packed), length))
    runs = [(around.varint(), around.varint()) for _ in range(around.varint())]
    floats = sum(count for _, count in runs)
    planes = [source.take(floats) for _ in range(3)]
    planes.append(decompress(1, source.rest(), floats))
    out, at = bytearray(), 0
    for gap, count in runs:
        out += around.take(gap)
        run = bytearray(4 * count)
        for number, plane in enumerate(planes):
            run[number::4] = plane[at : at + count]
        out += run
        at += count
    return bytes(out + around.rest())


def decompress(codec, packed, length):
    if codec == 1:
        packed = zstandard.ZstdDecompressor().decompress(packed, max_output_size=length)
    elif codec == 2:
        packed = join_planes(Input(packed))
    elif codec != 0:
        raise ValueError(f"codec {codec}")
    if len(packed) != length:
        raise ValueError("length of the plaintext")
    return packed


def hchacha20(key, nonce):
    """The subkey of XChaCha20: draft-irtf-cfrg-xchacha, section 2.2."""
    state = list(struct.unpack("<4I8I4I", b"expand 32-byte k" + key + nonce))

    def rotate(value, by):
        return (value << by | value >> (32 - by)) & 0xFFFFFFFF

    def quarter(a, b, c, d):
        for x, y, z, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xFFFFFFFF
            state[z] = rotate(state[z] ^ state[x], by)

    for _ in range(10):
        quarter(0, 4, 8, 12), quarter(1, 5, 9, 13), quarter(2, 6, 10, 14), quarter(3, 7, 11, 15)
        quarter(0, 5, 10, 15), quarter(1, 6, 11, 12), quarter(2, 7, 8, 13), quarter(3, 4, 9, 14)
    return struct.pack("<8I", *(state[:4] + state[12:]))


class Repository:
    def __init__(self, root, password=None, key_file=None):
        self.root = pathlib.Path(root)
        config = (self.root / "config").read_bytes()
        source = Input(config)
        frame(source, 1)
        self.config = json.loads(source.rest())
        if self.config["format"] != 1 or self.config.get("must_understand"):
            raise ValueError("unknown format or feature")
        self.id = bytes.fromhex(self.config["id"])
        key = self.open_slots(config, password, key_file)
        self.chunk_key = derive("keepstone 1 chunk id", key)
        self.node_key = derive("keepstone 1 node id", key)
        self.wrap_key = derive("keepstone 1 session key wrap", key)
        self.records_key = keyed(derive("keepstone 1 small records", key), self.id)
        self.session_keys, self.segments, self.chunks = {}, {}, {}
        self.blocks, self.open_segments, self.records = {}, {}, {}

    def open_slots(self, config, password, key_file):
        for path in sorted((self.root / "keys").iterdir()):
            source = Input(path.read_bytes())
            start = source.data[:8]
            frame(source, 2)
            header, sealed = source.bytes(), source.bytes()
            source.done()
            fields = Input(header)
            kdf = fields.byte()
            if kdf == 1:
                memory, passes, lanes = fields.varint(), fields.varint(), fields.varint()
                if password is None:
                    continue
            elif key_file is None:
                continue
            salt, commitment = fields.take(16), fields.take(32)
            if kdf == 1:
                stretched = hash_secret_raw(password, salt, passes, memory, lanes, 32, Type.ID, 0x13)
            else:
                stretched = derive("keepstone 1 raw key file", salt + key_file)
            if derive("keepstone 1 slot commitment", stretched) != commitment:
                continue
            cipher = ChaCha20Poly1305(derive("keepstone 1 slot seal", stretched))
            opened = cipher.decrypt(bytes(12), sealed, start + header)
            if blake3(config).digest() != opened[32:]:
                raise ValueError("the config is not the one of this slot")
            return opened[:32]
        raise ValueError("no key slot opens")

    def small_record(self, name, kind):
        source = Input((self.root / name).read_bytes())
        frame(source, kind)
        codec, length, nonce = source.byte(), struct.unpack("<I", source.take(4))[0], source.take(24)
        bound = b"record" + bytes([1]) + self.id + bytes([kind, codec]) + struct.pack("<I", length)
        cipher = ChaCha20Poly1305(hchacha20(self.records_key, nonce[:16]))
        packed = cipher.decrypt(bytes(4) + nonce[16:], source.rest(), bound + name.encode())
        return json.loads(decompress(codec, packed, length))

    def names(self, folder):
        path = self.root / folder
        return sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []

    def snapshots(self):
        gone = set(self.names("forgotten"))
        for name in self.names("settled"):
            record = self.small_record(f"settled/{name}", 9)
            gone |= set(record["aborted"]) | set(record["forgotten"])
        for name in self.names("end"):
            end = self.small_record(f"end/{name}", 6)
            if end["outcome"] == "committed" and name not in gone:
                yield name, end

    def session_key(self, sid, wrapped):
        if sid not in self.session_keys:
            cipher = ChaCha20Poly1305(keyed(self.wrap_key, sid))
            self.session_keys[sid] = cipher.decrypt(bytes(12), wrapped, b"wrap\x01" + self.id + sid)
        return self.session_keys[sid]

    def open_box(self, kind, sid, counter, codec, length, stored):
        bound = b"box\x01" + self.id + bytes([kind]) + sid + struct.pack("<QBII", counter, codec, length, len(stored))
        cipher = ChaCha20Poly1305(self.session_keys[sid])
        return decompress(codec, cipher.decrypt(struct.pack("<QI", counter, 0), stored, bound), length)

    def load_packs(self):
        for path in sorted((self.root / "packs").glob("*/*")):
            self.load_pack(path)

    def load_pack(self, path):
        data = path.read_bytes()
        frame(Input(data), 3)
        if data[-4:] != b"KSPK":
            raise ValueError(f"{path}: no pack")
        trailer_length = struct.unpack("<I", data[-8:-4])[0]
        trailer = Input(data[len(data) - trailer_length :])
        sessions = []
        for _ in range(trailer.varint()):
            sid, wrapped = trailer.take(16), trailer.take(48)
            self.session_key(sid, wrapped)
            sessions.append(sid)
        counter, codec, length, stored = struct.unpack("<QBII", trailer.take(17))
        if blake3(data[:-40]).digest() != trailer.take(32):
            raise ValueError(f"{path}: outer hash")
        end = len(data) - trailer_length
        footer = Input(self.open_box(4, sessions[0], counter, codec, length, data[end - stored : end]))
        at, blocks = 8, []
        for _ in range(footer.varint()):
            kind, codec = footer.byte(), footer.byte()
            sid, counter = sessions[footer.varint()], footer.varint()
            length, stored = footer.varint(), footer.varint()
            place = (path, at, kind, sid, counter, codec, length, stored)
            at += stored
            if kind == 3:
                blocks.append(place)
            else:
                self.segments.setdefault((sid, counter), []).append(place)
        for place in blocks:
            for position in range(footer.varint()):
                self.chunks.setdefault(footer.take(32), []).append((place, position))
        footer.done()

    def read_box(self, place):
        path, at, kind, sid, counter, codec, length, stored = place
        with open(path, "rb") as file:
            file.seek(at)
            return self.open_box(kind, sid, counter, codec, length, file.read(stored))

    def segment(self, name):
        if name not in self.open_segments:
            if len(self.open_segments) > 64:
                self.open_segments.clear()
            self.open_segments[name] = self.read_box(self.segments[name][0])
        return self.open_segments[name]

    def block(self, place):
        if place not in self.blocks:
            self.blocks[place] = decode_block(self.read_box(place))
        return self.blocks[place]

    def record(self, chunk):
        if chunk not in self.records:
            self.choose(chunk)
        return self.records[chunk]

    def choose(self, chunk):
        """Of each chunk below this one the record whose chain of bases is the shortest, in rounds from the shortest up."""
        open_records, left = {}, [chunk]
        while left:
            name = left.pop()
            if name in open_records or name in self.records:
                continue
            found = (self.block(place)[position] for place, position in self.chunks.get(name, []))
            open_records[name] = [
                record
                for record in found
                if all(kind == "base" or part in self.segments for kind, part, _, _ in record)
            ]
            left += [base for record in open_records[name] for base in bases_of(record)]
        while True:
            known = {
                name: record
                for name, records in open_records.items()
                for record in records
                if all(self.records.get(base) for base in bases_of(record))
            }
            if not known:
                break
            self.records.update(known)
            open_records = {name: rest for name, rest in open_records.items() if name not in known}
        self.records.update(dict.fromkeys(open_records))

    def piece(self, chunk, start, count):
        record = self.record(chunk)
        if record is None:
            raise ValueError(f"nothing makes chunk {chunk.hex()}")
        out = []
        for kind, name, offset, length in record:
            take = min(length - start, count) if start < length else 0
            if take > 0:
                if kind == "segment":
                    out.append(self.segment(name)[offset + start : offset + start + take])
                else:
                    out.append(self.piece(name, offset + start, take))
                count -= take
            start = max(0, start - length)
        if count:
            raise ValueError("a copy beyond the end of its base")
        return b"".join(out)

    def whole(self, chunk, key):
        length = sum(extent[3] for extent in self.record(chunk))
        data = self.piece(chunk, 0, length)
        if keyed(key, data) != chunk:
            raise ValueError(f"bytes of {chunk.hex()} do not give its name")
        return data

    def node(self, name):
        return Input(self.whole(name, self.node_key))

    def list(self, root):
        source = self.node(root)
        if source.byte() != 1:
            raise ValueError("no list")
        level, flags, count = source.byte(), source.varint(), source.varint()
        names = [source.take(32) for _ in range(count)]
        lengths = [source.varint() for _ in range(count)]
        if flags & 1:
            for _ in range(2 * count):
                source.bytes()
        source.done()
        for name, length in zip(names, lengths):
            if level == 0:
                yield name, length
            else:
                yield from self.list(name)

    def folder(self, root):
        source = self.node(root)
        kind = source.byte()
        if kind == 3:
            source.byte()
            for _ in range(source.varint()):
                yield from self.folder(source.take(32))
        elif kind == 2:
            for _ in range(source.varint()):
                yield entry(source)
            source.done()
        else:
            raise ValueError("no folder")

    def restore(self, root, target):
        target.mkdir(parents=True, exist_ok=True)
        for item in self.folder(root):
            path = target / item["name"]
            shown = {key: value for key, value in item.items() if key not in ("chunks", "root")}
            print(json.dumps({"path": str(path), **shown}))
            if item["type"] == "dir":
                self.restore(item["root"], path)
            elif item["type"] == "file":
                chunks = item["chunks"] if "chunks" in item else self.list(item["root"])
                with open(path, "wb") as file:
                    size = sum(file.write(self.chunk(name, length)) for name, length in chunks)
                if size != item["size"]:
                    raise ValueError(f"{path}: size")

    def chunk(self, name, length):
        data = self.whole(name, self.chunk_key)
        if len(data) != length:
            raise ValueError("length of a chunk")
        return data


def bases_of(record):
    return {name for kind, name, _, _ in record if kind == "base"}


def decode_block(data):
    source = Input(data)
    sessions = [source.take(16) for _ in range(source.varint())]
    segments = []
    for _ in range(source.varint()):
        sid = sessions[source.varint()]
        segments.append((sid, source.varint()))
    bases = [source.take(32) for _ in range(source.varint())]
    count = source.varint()
    lengths, depths, counts, operations, places = (Input(source.bytes()) for _ in range(5))
    source.done()
    records = []
    segment = base = (None, 0)
    last_segment = last_base = 0
    for _ in range(count):
        length, _depth, record = lengths.varint(), depths.byte(), []
        for _ in range(counts.varint()):
            operation = operations.varint()
            size, tag = operation >> 2, operation & 3
            if tag in (0, 3):
                if tag == 0:
                    number, offset = segment
                else:
                    number = last_segment + places.signed()
                    offset = places.varint()
                last_segment, segment = number, (number, offset + size)
                record.append(("segment", segments[number], offset, size))
            else:
                if tag == 1:
                    number, offset = base[0], base[1] + places.signed()
                else:
                    number = last_base + 1 + places.signed()
                    offset = places.varint()
                last_base, base = number, (number, offset + size)
                record.append(("base", bases[number], offset, size))
        if sum(extent[3] for extent in record) != length:
            raise ValueError("extents do not sum up")
        records.append(record)
    for column in (lengths, depths, counts, operations, places):
        column.done()
    return records


def entry(source):
    item = {"name": source.bytes().decode(errors="surrogateescape")}
    if item["name"] in ("", ".", "..") or "/" in item["name"] or "\0" in item["name"]:
        raise ValueError("a name that is no name")
    kind = source.byte()
    if kind == 1:
        item.update(type="dir", root=source.take(32))
    elif kind in (2, 3):
        item.update(type="file", profile=source.byte(), size=source.varint())
        if kind == 2:
            item["chunks"] = [(source.take(32), source.varint()) for _ in range(source.varint())]
        else:
            item["root"] = source.take(32)
    elif kind in (4, 5):
        item.update(type="link" if kind == 4 else "hardlink", to=source.bytes().decode(errors="surrogateescape"))
    elif kind in (6, 7):
        item["type"] = "fifo" if kind == 6 else "socket"
    elif kind in (8, 9):
        item.update(type="device", major=source.varint(), minor=source.varint())
    else:
        raise ValueError(f"entry of kind {kind}")
    flags = source.varint()
    if flags & 128:
        item.update(mode=source.varint(), uid=source.varint(), gid=source.varint(), mtime_ns=source.signed())
    if flags & 1:
        item.update(user=source.bytes().decode(), group=source.bytes().decode())
    if flags & 4:
        item.update(stat=[source.varint(), source.signed(), source.varint()])
    if flags & 8:
        item["xattrs"] = {source.bytes().hex(): source.bytes().hex() for _ in range(source.varint())}
    if flags & 16:
        item["records"] = source.varint()
    if flags & 32:
        item["digest"] = source.take(32).hex()
    if flags & 64:
        item["attributes"] = json.loads(source.bytes())
    return item


def main():
    root, how, secret_file, verb, *rest = sys.argv[1:]
    secret = pathlib.Path(secret_file).read_bytes()
    if how == "--password-file":
        repository = Repository(root, password=secret.removesuffix(b"\n").removesuffix(b"\r"))
    else:
        repository = Repository(root, key_file=secret)
    if verb == "list":
        for name, snapshot in repository.snapshots():
            print(json.dumps({"id": name, "time_ns": snapshot["time_ns"], "sources": len(snapshot["sources"])}))
        return
    wanted, folder = rest
    repository.load_packs()
    for name, snapshot in repository.snapshots():
        if name.startswith(wanted):
            for source in snapshot["sources"]:
                if source.get("root"):
                    repository.restore(bytes.fromhex(source["root"]), pathlib.Path(folder) / source["name"])
            return
    sys.exit(f"no snapshot {wanted}")


if __name__ == "__main__":
    main()
