package webhook

import (
	"strings"
	"time"

	"fairlead.dev/controller/internal/notification"
)

// object is a JSON object of a receiver's format.
type object = map[string]any

// Limits of the strictest receivers: Slack takes 3000 characters in a section,
// Discord 4096 in a description and 1024 in a field.
const (
	maxTitle = 250
	maxValue = 500
	maxText  = 2800
)

// body renders a message in its receiver's format.
func (s *Sender) body(d notification.Delivery) object {
	m := d.Message
	link := ""
	if m.Path != "" {
		link = s.publicURL + "/api/" + d.TeamSlug + m.Path
	}
	switch d.Type {
	case notification.Webhook:
		return standard(d, link)
	case notification.Discord:
		return discord(m, link)
	case notification.Teams:
		return teams(m, link)
	case notification.Rocket, notification.Mattermost:
		return attachment(m, link)
	default:
		return slack(m, link)
	}
}

// slack renders Block Kit.
//
// https://docs.slack.dev/reference/block-kit/blocks
func slack(m notification.Message, link string) object {
	title := cut(slackText(m.Title), maxTitle)
	if link != "" {
		title = "<" + link + "|" + title + ">"
	}
	blocks := []object{{"type": "section", "text": object{"type": "mrkdwn", "text": icon(m) + " *" + title + "*"}}}
	var fields []object
	for _, f := range m.Facts {
		fields = append(fields, object{"type": "mrkdwn", "text": "*" + slackText(f.Name) + "*\n" + cut(slackText(f.Value), maxValue)})
	}
	if len(fields) > 0 {
		blocks = append(blocks, object{"type": "section", "fields": fields})
	}
	if details := details(m); details != "" {
		blocks = append(blocks, object{"type": "section", "text": object{
			"type": "mrkdwn", "text": "```" + cut(slackText(fence(details)), maxText) + "```",
		}})
	}
	blocks = append(blocks, object{"type": "context", "elements": []object{{"type": "mrkdwn", "text": m.At.UTC().Format(time.RFC3339)}}})
	return object{"text": cut(slackText(m.Title), maxTitle), "blocks": blocks}
}

// slackText escapes what Slack reads as control characters.
func slackText(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
}

// discord renders an embed; nobody is pinged by what it holds.
//
// https://discord.com/developers/docs/resources/webhook#execute-webhook
func discord(m notification.Message, link string) object {
	embed := object{"title": cut(plain(m.Title), maxTitle), "color": color(m), "timestamp": m.At.UTC().Format(time.RFC3339)}
	if link != "" {
		embed["url"] = link
	}
	if details := details(m); details != "" {
		embed["description"] = "```\n" + cut(fence(details), maxText) + "\n```"
	}
	fields := []object{}
	for _, f := range m.Facts {
		fields = append(fields, object{"name": cut(plain(f.Name), maxTitle), "value": cut(plain(f.Value), maxValue), "inline": true})
	}
	embed["fields"] = fields
	return object{"embeds": []object{embed}, "allowed_mentions": object{"parse": []string{}}}
}

// teams renders an adaptive card.
//
// https://adaptivecards.io/explorer/AdaptiveCard.html
func teams(m notification.Message, link string) object {
	var facts []object
	for _, f := range m.Facts {
		facts = append(facts, object{"title": plain(f.Name), "value": cut(plain(f.Value), maxValue)})
	}
	style := "good"
	if m.Failed {
		style = "attention"
	}
	content := []object{{"type": "TextBlock", "size": "large", "weight": "bolder", "wrap": true, "color": style, "text": cut(plain(m.Title), maxTitle)}}
	if len(facts) > 0 {
		content = append(content, object{"type": "FactSet", "facts": facts})
	}
	if details := details(m); details != "" {
		content = append(content, object{"type": "TextBlock", "wrap": true, "fontType": "monospace", "text": cut(plain(details), maxText)})
	}
	content = append(content, object{"type": "TextBlock", "size": "small", "weight": "lighter", "text": m.At.UTC().Format(time.RFC3339)})
	card := object{
		"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.3", "body": content,
	}
	if link != "" {
		card["actions"] = []object{{"type": "Action.OpenUrl", "title": "Open", "url": link}}
	}
	return object{"type": "message", "attachments": []object{{"contentType": "application/vnd.microsoft.card.adaptive", "content": card}}}
}

// attachment renders what Rocket.Chat and Mattermost both take.
//
// https://developers.mattermost.com/integrate/reference/message-attachments
func attachment(m notification.Message, link string) object {
	fields := []object{}
	for _, f := range m.Facts {
		fields = append(fields, object{"title": plain(f.Name), "value": cut(plain(f.Value), maxValue), "short": true})
	}
	card := object{"title": cut(m.Title, maxTitle), "fallback": cut(m.Title, maxTitle), "color": "#2eb67d", "fields": fields}
	if m.Failed {
		card["color"] = "#e01e5a"
	}
	if link != "" {
		card["title_link"] = link
	}
	if details := details(m); details != "" {
		card["text"] = "```\n" + cut(fence(details), maxText) + "\n```"
	}
	return object{"text": "", "attachments": []object{card}}
}

// details is what went wrong and what was logged last.
func details(m notification.Message) string {
	return strings.TrimSpace(m.Error + "\n" + strings.Join(m.Lines, "\n"))
}

// plain escapes what Markdown would read as markup.
func plain(text string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "`", "\\`", "~", `\~`, "|", `\|`, "[", `\[`, "]", `\]`, "<", `\<`, "@", "@\u200b").Replace(text)
}

// fence keeps text from ending the block of code it is put into.
func fence(text string) string { return strings.ReplaceAll(text, "```", "'''") }

func icon(m notification.Message) string {
	if m.Failed {
		return ":x:"
	}
	return ":white_check_mark:"
}

func color(m notification.Message) int {
	if m.Failed {
		return 0xe01e5a
	}
	return 0x2eb67d
}

func cut(text string, length int) string {
	if runes := []rune(text); len(runes) > length {
		return string(runes[:length-1]) + "…"
	}
	return text
}
