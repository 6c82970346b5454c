package page_test

import (
	"slices"
	"testing"

	"fairlead.dev/controller/internal/page"
)

func TestCutReturnsWhatIsWanted(t *testing.T) {
	list := []int{1, 2, 3}
	if got := page.Cut(t.Context(), list); !slices.Equal(got, list) {
		t.Errorf("without a page: %v", got)
	}
	for p, want := range map[page.Page][]int{
		{Skip: 0, Take: 2}: {1, 2}, {Skip: 2, Take: 2}: {3}, {Skip: 3, Take: 1}: {}, {Skip: 9, Take: 9}: {}, {Skip: 0, Take: 9}: {1, 2, 3},
	} {
		if got := page.Cut(page.With(t.Context(), p), list); !slices.Equal(got, want) {
			t.Errorf("%+v: %v, want %v", p, got, want)
		}
	}
}
