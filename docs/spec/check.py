"""Checks a pack's chain, commitments and root against its checkpoint. Written from docs/spec alone.
It checks no signature (Python brings no Ed25519) and does not judge absences. Usage: check.py PACK"""
import base64, hashlib, json, re, sys, zipfile

def sha(data):
    return hashlib.sha256(data).digest()

def b64(data):
    return base64.b64encode(data).decode()

def check(path):
    pack = zipfile.ZipFile(path)
    manifest = json.loads(pack.read("manifest.json"))
    size, trail = manifest["size"], manifest["trail"]
    origin, note_size, note_root = pack.read("checkpoint").decode().split("\n")[:3]
    assert (origin, int(note_size)) == (manifest["origin"], size), "the checkpoint is another trail's"

    # Bundles: each entry's place, chain and leaf hash. Tiles: hashes of whole subtrees, by (tree level, index).
    hashes, entries, above, last = {}, {}, set(), {}
    for name in pack.namelist():
        tile = re.fullmatch(r"tile/(entries|\d+)/((?:x\d{3}/)*\d{3})(?:\.p/\d+)?", name)
        if not tile:
            continue
        data, first = pack.read(name), 256 * int(re.sub("[x/]", "", tile[2]))
        if tile[1] != "entries":
            for at in range(len(data) // 32):
                hashes[8 * int(tile[1]), first + at] = data[32 * at : 32 * at + 32]
            continue
        above |= {(level, first >> level) for level in range(8, 56, 8)}
        seq, at = first, 0
        while at < len(data):
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            entry = data[at + 2 : end]
            lines = entry.decode("ascii").split("\n")
            assert lines[:3] == ["affidavit/1", trail, str(seq)], f"entry {seq}: wrong version, trail or seq"
            before = b64(bytes(32)) if seq == 0 else last.get(seq - 1, lines[3])
            assert lines[3] == before, f"entry {seq}: wrong previous hash"
            hashes[0, seq] = sha(b"\0" + entry)
            entries[seq], last = lines, {seq: b64(hashes[0, seq])}
            seq, at = seq + 1, end

    def root(start, end):
        level = (end - start).bit_length() - 1
        key = (level, start >> level)
        if end - start == 1 << level and key in hashes and key not in above:
            return hashes[key]
        assert end - start > 1, f"entry {start} is missing"
        middle = start + (1 << (end - start - 1).bit_length() - 1)
        return sha(b"\1" + root(start, middle) + root(middle, end))

    assert b64(root(0, size)) == note_root, "the entries do not give the root of the checkpoint"
    for level, index in above & hashes.keys():  # a tile must also agree with the entries below it
        assert hashes[level, index] == root(index << level, index + 1 << level), f"tile of level {level // 8} is wrong"

    wanted, parts = iter([seq for start, end in manifest["ranges"] for seq in range(start, end)]), 0
    for name in pack.namelist():
        for line in pack.read(name).decode().split("\n")[:-1] if name.startswith("content/") else []:
            content = json.loads(line)
            seq = content["seq"]
            assert seq == next(wanted, None), f"content of entry {seq} is out of place"
            given = [(kind, 0, content[kind]) for kind in ("facts", "confidential", "operator") if kind in content]
            given += [("personal", part["n"], part) for part in content.get("personal", [])]
            for kind, n, part in given:
                committed = [line.split(" ")[-1] for line in entries[seq] if line.startswith(kind + " ")]
                tag = "control" if kind == "facts" and entries[seq][5].startswith("control ") else kind
                data = f"affidavit/1 {tag}\n".encode() + base64.b64decode(part["salt"]) + part["content"].encode()
                assert committed[n] == b64(sha(data)), f"entry {seq}: {kind} is not what was sealed"
                parts += 1
    assert next(wanted, None) is None, "contents are missing"
    return f"held: {len(entries)} entries, {parts} parts of content, root {note_root}"

try:
    print(check(sys.argv[1]))
except Exception as problem:
    sys.exit(f"failed: {problem!r}")
