package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"strings"
	"time"

	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/hint"
	"openclaw-azure/internal/outputs"
)

const (
	linkLimit = 5 * time.Minute  // how long a QR is shown anew
	callLimit = 25 * time.Second // of one call to the gateway, which waits so long for a QR or for its being read
)

// linking is the gateway's answer to its calls web.login.start and web.login.wait.
type linking struct {
	QR        string       `json:"qrDataUrl"` // read as a picture, and never shown
	Message   foreign.Text `json:"message"`
	Connected bool         `json:"connected"`
	Session   string       `json:"sessionKey"` // goes back as it came, and is never shown
}

// whatsapp links the machine to a WhatsApp account: it shows the QR of the gateway's own call until a telephone has read it.
// OpenClaw's own command for that refuses, since it would write into a configuration that is the stack's.
func whatsapp(ctx context.Context, way outputs.Way, stack *outputs.Stack, show func(string)) error {
	ask := func(method string, params map[string]any) (linking, error) {
		params["channel"], params["timeoutMs"] = "whatsapp", callLimit.Milliseconds()
		text, err := json.Marshal(params)
		if err != nil {
			return linking{}, err
		}
		argv, password, err := asRoot("openclaw", []string{"gateway", "call", method, "--params", string(text), "--timeout", fmt.Sprint((2 * callLimit).Milliseconds()), "--json"}, false, stack)
		if err != nil {
			return linking{}, err
		}
		stdout, stderr, exit, err := way.Door.Run(ctx, strings.Join(argv, " "), []byte(password))
		if err != nil {
			return linking{}, err
		}
		var answer linking
		if exit != 0 || stdout.Object().Decode(&answer) != nil {
			return linking{}, hint.To(fmt.Errorf("the gateway's call %s failed, exit status %d: %s %s", method, exit, stdout, stderr),
				"docs/first-hour.md has the lines that configure WhatsApp; claw openclaw -- channels status says how it is")
		}
		return answer, nil
	}
	answer, err := ask("web.login.start", map[string]any{"force": false})
	shown, session := "", answer.Session
	for deadline := time.Now().Add(linkLimit); err == nil; {
		switch {
		case answer.Connected:
			show("WhatsApp is linked\n")
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("nobody has read the QR within %d minutes", int(linkLimit.Minutes()))
		case answer.QR != "" && answer.QR != shown:
			picture, err := qr(answer.QR)
			if err != nil {
				return err
			}
			shown = answer.QR
			show(picture + "On your telephone: WhatsApp, Linked devices, Link a device\n")
		case answer.QR == "" && (shown == "" || !strings.HasPrefix(answer.Message.String(), stillWaiting)):
			return hint.To(fmt.Errorf("WhatsApp was not linked: %s", answer.Message), "claw whatsapp shows another QR")
		}
		answer, err = ask("web.login.wait", map[string]any{"currentQrDataUrl": shown, "sessionKey": session})
	}
	return err
}

// stillWaiting is how the gateway says that nobody has read the QR yet, and that it is good for longer.
const stillWaiting = "Still waiting"

var errNoQR = errors.New("what the gateway gave is no picture of a QR code")

// qr draws the QR code of a data URL with a PNG in it for a terminal, two of its rows to a line.
func qr(dataURL string) (string, error) {
	encoded, ok := strings.CutPrefix(dataURL, "data:image/png;base64,")
	if !ok {
		return "", errNoQR
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", errNoQR
	}
	if size, err := png.DecodeConfig(bytes.NewReader(raw)); err != nil || size.Width > 4096 || size.Height > 4096 {
		return "", errNoQR
	}
	picture, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		return "", errNoQR
	}
	modules, err := modulesOf(picture)
	if err != nil {
		return "", err
	}
	const quiet = 2 // modules of light around it, for the camera
	at := func(x, y int) bool {
		x, y = x-quiet, y-quiet
		return y >= 0 && y < len(modules) && x >= 0 && x < len(modules) && modules[y][x]
	}
	blocks := map[[2]bool]string{{false, false}: " ", {true, false}: "▀", {false, true}: "▄", {true, true}: "█"}
	var out strings.Builder
	for y := 0; y < len(modules)+2*quiet; y += 2 {
		out.WriteString("\x1b[30;107m") // dark on light, whatever the terminal's own colours are
		for x := range len(modules) + 2*quiet {
			out.WriteString(blocks[[2]bool{at(x, y), at(x, y+1)}])
		}
		out.WriteString("\x1b[0m\n")
	}
	return out.String(), nil
}

// modulesOf finds a QR code's modules in a picture of nothing else. Its upper left corner is a dark bar of seven.
func modulesOf(picture image.Image) ([][]bool, error) {
	dark := func(x, y int) bool {
		r, g, b, a := picture.At(x, y).RGBA()
		return a > 0x7fff && r+g+b < 3*0x7fff
	}
	var box image.Rectangle
	bounds := picture.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			if dark(x, y) {
				box = box.Union(image.Rect(x, y, x+1, y+1))
			}
		}
	}
	bar := 0
	for box.Min.X+bar < box.Max.X && dark(box.Min.X+bar, box.Min.Y) {
		bar++
	}
	size := bar / 7
	if size == 0 || bar%7 != 0 || box.Dx() != box.Dy() || box.Dx()%size != 0 || (box.Dx()/size-17)%4 != 0 || box.Dx()/size < 21 || box.Dx()/size > 177 {
		return nil, errNoQR
	}
	modules := make([][]bool, box.Dy()/size)
	for row := range modules {
		for column := range modules {
			modules[row] = append(modules[row], dark(box.Min.X+column*size+size/2, box.Min.Y+row*size+size/2))
		}
	}
	return modules, nil
}
