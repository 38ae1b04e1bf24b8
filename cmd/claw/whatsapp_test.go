package main

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// drawn is a PNG of a QR code: modules of some pixels, with a margin.
func drawn(t *testing.T, modules [][]bool, pixels, margin int) string {
	t.Helper()
	size := len(modules)*pixels + 2*margin
	picture := image.NewGray(image.Rect(0, 0, size, size))
	for i := range picture.Pix {
		picture.Pix[i] = 0xff
	}
	for y, row := range modules {
		for x, dark := range row {
			for dy := range pixels {
				for dx := range pixels {
					if dark {
						picture.SetGray(margin+x*pixels+dx, margin+y*pixels+dy, color.Gray{0})
					}
				}
			}
		}
	}
	var out bytes.Buffer
	if err := png.Encode(&out, picture); err != nil {
		t.Fatal(err)
	}
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(out.Bytes())
}

// code is something like a QR code: three corners as one has them, and noise between them.
func code(size int) [][]bool {
	random := rand.New(rand.NewPCG(1, uint64(size)))
	modules := make([][]bool, size)
	for y := range modules {
		for range size {
			modules[y] = append(modules[y], random.IntN(2) == 0)
		}
	}
	for _, corner := range [][2]int{{0, 0}, {size - 7, 0}, {0, size - 7}} {
		for y := range 7 {
			for x := range 7 {
				ring := max(max(x, 6-x), max(y, 6-y))
				modules[corner[1]+y][corner[0]+x] = ring != 5
			}
		}
	}
	for i := range 8 { // the light line beside each
		for _, light := range [][2]int{{7, i}, {i, 7}, {size - 8, i}, {size - 1 - i, 7}, {7, size - 1 - i}, {i, size - 8}} {
			modules[light[1]][light[0]] = false
		}
	}
	return modules
}

// TestQRIsDrawnAsItIs reads what the terminal shows back, module by module.
func TestQRIsDrawnAsItIs(t *testing.T) {
	for _, test := range []struct{ size, pixels, margin int }{{21, 1, 0}, {45, 4, 16}, {61, 3, 12}, {177, 2, 8}} {
		want := code(test.size)
		text, err := qr(drawn(t, want, test.pixels, test.margin))
		if err != nil {
			t.Fatalf("%v: %v", test, err)
		}
		var got [][]bool
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(strings.TrimPrefix(line, "\x1b[30;107m"), "\x1b[0m\n")
			var upper, lower []bool
			for _, block := range line {
				upper, lower = append(upper, block == '▀' || block == '█'), append(lower, block == '▄' || block == '█')
			}
			got = append(got, upper, lower)
		}
		for y, row := range want {
			if !slices.Equal(got[y+2][2:2+test.size], row) {
				t.Errorf("%v: row %d differs", test, y)
			}
		}
		for _, edge := range [][]bool{got[0], got[1], got[test.size+2]} {
			if slices.Contains(edge, true) {
				t.Errorf("%v: there is no light around it", test)
			}
		}
	}
}

func TestWhatIsNoQRIsRefused(t *testing.T) {
	broken := code(21)
	broken[0][3] = false
	for name, url := range map[string]string{
		"nothing": "", "another kind": "data:text/html;base64,PGI+", "no base64": "data:image/png;base64,?", "no PNG": "data:image/png;base64,eHg=",
		"all light": drawn(t, make([][]bool, 21), 2, 0), "no corner": drawn(t, broken, 2, 4), "no size of a QR's": drawn(t, code(23), 2, 4),
	} {
		if text, err := qr(url); err == nil {
			t.Errorf("%s: %q", name, text)
		}
	}
}
