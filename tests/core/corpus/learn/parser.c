#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64

enum token_kind { TOK_END, TOK_NUMBER, TOK_NAME, TOK_OPEN, TOK_CLOSE, TOK_OPERATOR };

struct token {
    enum token_kind kind;
    const char *start;
    size_t length;
    double value;
};

/* Returns the next token and moves *cursor behind it. */
static struct token next_token(const char **cursor)
{
    struct token t = { TOK_END, NULL, 0, 0.0 };
    const char *p = *cursor;

    while (isspace((unsigned char)*p))
        p++;
    t.start = p;
    if (*p == '\0') {
        *cursor = p;
        return t;
    }
    if (isdigit((unsigned char)*p) || (*p == '.' && isdigit((unsigned char)p[1]))) {
        char *end;
        t.kind = TOK_NUMBER;
        t.value = strtod(p, &end);
        p = end;
    } else if (isalpha((unsigned char)*p) || *p == '_') {
        t.kind = TOK_NAME;
        while (isalnum((unsigned char)*p) || *p == '_')
            p++;
    } else {
        t.kind = (*p == '(') ? TOK_OPEN : (*p == ')') ? TOK_CLOSE : TOK_OPERATOR;
        p++;
    }
    t.length = (size_t)(p - t.start);
    *cursor = p;
    return t;
}
