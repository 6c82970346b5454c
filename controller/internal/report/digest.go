package report

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"fairlead.dev/shared/workload"
)

// digest is what is remembered of a list of containers: enough to tell which
// of the next list's are other ones, 16 bytes for each.
type digest struct {
	entries []entry
	sum     [sumBytes]byte
}

// entry is one container. Its hashes are no protection against who makes two
// that are the same: an agent could as well leave out what it does not want to
// be known.
type entry struct {
	// id is of its engine id, content of everything else.
	id, content uint64
}

// sumBytes is the length of the digest of a whole list.
const sumBytes = 16

// digestOf returns the digest of a list, with its entries in the order of the
// list and with the sum over them in ascending order. It is not ok when two of
// them have the same engine id.
func digestOf(list []workload.Container, engineError string) (d digest, ok bool) {
	ok = true
	d = digest{entries: make([]entry, len(list))}
	var buffer []byte
	for i := range list {
		buffer = appendContainer(buffer[:0], &list[i])
		d.entries[i] = entry{id: xxhash.Sum64String(list[i].EngineID), content: xxhash.Sum64(buffer)}
	}
	sorted := slices.SortedFunc(slices.Values(d.entries), entry.compare)
	buffer = buffer[:0]
	for i, e := range sorted {
		ok = ok && (i == 0 || sorted[i-1].id != e.id)
		buffer = binary.LittleEndian.AppendUint64(buffer, e.id)
		buffer = binary.LittleEndian.AppendUint64(buffer, e.content)
	}
	buffer = append(buffer, engineError...)
	sum := sha256.Sum256(buffer)
	d.sum = [sumBytes]byte(sum[:sumBytes])
	return d, ok
}

func (e entry) compare(o entry) int { return cmp.Compare(e.id, o.id) }

// sort puts the entries in order, as they are remembered.
func (d digest) sort() digest {
	slices.SortFunc(d.entries, entry.compare)
	return d
}

// find returns the entry of a container in a sorted digest.
func (d digest) find(id uint64) (entry, bool) {
	at, found := slices.BinarySearchFunc(d.entries, entry{id: id}, entry.compare)
	if !found {
		return entry{}, false
	}
	return d.entries[at], true
}

// since returns which of the list's containers are not as in the earlier,
// sorted digest, and whether some of those are gone. The receiver's entries are
// in the order of the list.
func (d digest) since(earlier digest, list []workload.Container) (changed []workload.Container, gone bool) {
	same, news := 0, 0
	isNew := func(e entry) (is, there bool) {
		old, there := earlier.find(e.id)
		return !there || old.content != e.content, there
	}
	for _, e := range d.entries {
		is, there := isNew(e)
		if there {
			same++
		}
		if is {
			news++
		}
	}
	gone = same < len(earlier.entries)
	switch news {
	case 0:
		return nil, gone
	case len(list): // no copy of a list of which everything is new
		return list, gone
	}
	changed = make([]workload.Container, 0, news)
	for i, e := range d.entries {
		if is, _ := isNew(e); is {
			changed = append(changed, list[i])
		}
	}
	return changed, gone
}

// appendContainer writes everything that is stored of a container but its
// engine id.
func appendContainer(b []byte, c *workload.Container) []byte {
	for _, text := range [...]string{
		c.ID.Prefix, c.ID.Name, c.DeploymentID, c.InstanceID, c.ImageName, c.ImageTag, c.ImageDigest,
		c.Command, string(c.State), c.Reason, c.Health,
	} {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	for _, number := range [...]int64{c.Release, int64(c.ExitCode), int64(c.RestartCount), int64(len(c.Ports))} {
		b = binary.AppendVarint(b, number)
	}
	for _, yes := range [...]bool{c.Managed, c.OOMKilled, c.Leftover} {
		b = append(b, flag(yes))
	}
	for _, at := range [...]time.Time{c.CreatedAt, c.StartedAt, c.FinishedAt} {
		b = binary.AppendVarint(b, at.UnixMicro())
	}
	for _, p := range c.Ports {
		b = binary.AppendVarint(b, int64(p.Internal))
		b = binary.AppendVarint(b, int64(p.External))
		b = append(append(b, p.Protocol...), 0)
	}
	return b
}

func flag(yes bool) byte {
	if yes {
		return 1
	}
	return 0
}
