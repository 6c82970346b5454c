package bulk

import "fairlead.dev/shared/workload"

// lineOverhead is about what a line takes besides its text.
const lineOverhead = 64

// weigh returns how many bytes a part takes in memory, roughly and not less.
func weigh(up Up) int {
	n := lineOverhead + len(up.Data)
	for _, line := range up.Lines {
		n += weighLine(line)
	}
	return n
}

func weighLine(line workload.LogLine) int { return lineOverhead + len(line.Text) }

// split cuts a part into parts of at most maxPart bytes each, in order.
func split(up Up) []Up {
	if weigh(up) <= maxPart {
		return []Up{up}
	}
	var parts []Up
	next := Up{Dropped: up.Dropped}
	size := lineOverhead
	for _, line := range up.Lines {
		if len(line.Text) > maxPart-2*lineOverhead {
			line.Text = line.Text[:maxPart-2*lineOverhead]
		}
		if size+weighLine(line) > maxPart {
			parts = append(parts, next)
			next, size = Up{}, lineOverhead
		}
		next.Lines = append(next.Lines, line)
		size += weighLine(line)
	}
	if len(next.Lines) > 0 || next.Dropped > 0 {
		parts = append(parts, next)
	}
	for data := up.Data; len(data) > 0; {
		n := min(len(data), maxPart-lineOverhead)
		parts = append(parts, Up{Stream: up.Stream, Data: data[:n:n]})
		data = data[n:]
	}
	if up.End != nil {
		parts = append(parts, Up{End: up.End})
	}
	return parts
}
