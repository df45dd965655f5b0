//! The corrections of Lua 5.1.5, as exact pieces of its text and what stands there instead.
//!
//! Lua 5.1 is maintained by nobody but those who use it, so what ten years have found is mended here: each row says
//! which weakness it meets. Beside those, work is counted. A state has a budget of units, of which every instruction
//! takes one and every loop in C takes what it costs; when it is used up the server is asked whether the script may
//! go on. Counting is for the whole state, so that nobody escapes into a coroutine, and it costs no more than the
//! counting of instructions that it stands in for.

/// One change of one file.
pub(crate) struct Correction {
    /// The file's name.
    pub(crate) file: &'static str,
    /// What it is for.
    pub(crate) why: &'static str,
    /// What stands there; with how many occurrences, in `times`.
    pub(crate) from: &'static str,
    /// What shall stand there.
    pub(crate) to: &'static str,
    /// How often `from` stands in the file.
    pub(crate) times: usize,
}

/// Why the table of all strings has a hash of its own.
const SPREAD: &str = "Long strings are spread over the table of all strings by a hash that differs from process to process, \
    so that nobody can make thousands that share a bucket; the order of keys in tables does not depend on it";

/// All corrections, applied one after the other.
pub(crate) const CORRECTIONS: &[Correction] = &[
    Correction {
        file: "lstate.h",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"  int gcstepmul;  /* GC `granularity' */
"#,
        to: r#"  int gcstepmul;  /* GC `granularity' */
  ptrdiff_t budget;  /* units of work until the next question */
  lua_CFunction tick;  /* who is asked then */
  const char *floor;  /* how far the C stack may reach down */
"#,
        times: 1,
    },
    Correction {
        file: "lstate.h",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"#define G(L)	(L->l_G)
"#,
        to: r#"#define G(L)	(L->l_G)

/* counts work; asks later */
#define luai_work(L,n)	(G(L)->budget -= (ptrdiff_t)(n))
/* counts work, and asks when the budget is used up: may raise an error */
#define luai_charge(L,n)	{ if (luai_work(L,n) <= 0) luaD_tick(L); }
LUAI_FUNC void luaD_tick (struct lua_State *L);
"#,
        times: 1,
    },
    Correction {
        file: "lstate.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"  g->gcdept = 0;
"#,
        to: r#"  g->gcdept = 0;
  g->budget = 0;
  g->tick = NULL;
  g->floor = NULL;
"#,
        times: 1,
    },
    Correction {
        file: "lvm.c",
        why: "Work is counted for the whole state, whatever coroutine does it: each instruction is a unit",
        from: r#"    if ((L->hookmask & (LUA_MASKLINE | LUA_MASKCOUNT)) &&
        (--L->hookcount == 0 || L->hookmask & LUA_MASKLINE)) {
      traceexec(L, pc);
      if (L->status == LUA_YIELD) {  /* did hook yield? */
        L->savedpc = pc - 1;
        return;
      }
      base = L->base;
    }
"#,
        to: r#"    if (--G(L)->budget <= 0) {
      L->savedpc = pc;
      luaD_tick(L);
      base = L->base;
    }
"#,
        times: 1,
    },
    Correction {
        file: "lvm.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"static void traceexec (lua_State *L, const Instruction *pc) {
"#,
        to: r#"#if 0
static void traceexec (lua_State *L, const Instruction *pc) {
"#,
        times: 1,
    },
    Correction {
        file: "lvm.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"static void callTMres (lua_State *L, StkId res, const TValue *f,
"#,
        to: r#"#endif
static void callTMres (lua_State *L, StkId res, const TValue *f,
"#,
        times: 1,
    },
    Correction {
        file: "lmem.c",
        why: "Work is counted for the whole state, whatever coroutine does it: what is allocated is filled",
        from: r#"  block = (*g->frealloc)(g->ud, block, osize, nsize);
"#,
        to: r#"  if (nsize > 512) g->budget -= (ptrdiff_t)(nsize >> 6);
  block = (*g->frealloc)(g->ud, block, osize, nsize);
"#,
        times: 1,
    },
    Correction {
        file: "ltable.c",
        why: "Work is counted for the whole state, whatever coroutine does it: a table whose values have gone is still looked through",
        from: r#"  int i = findindex(L, t, key);  /* find original element */
  for (i++; i < t->sizearray; i++) {  /* try first array part */
    if (!ttisnil(&t->array[i])) {  /* a non-nil value? */
"#,
        to: r#"  int i = findindex(L, t, key);  /* find original element */
  int from = i;
  for (i++; i < t->sizearray; i++) {  /* try first array part */
    if (!ttisnil(&t->array[i])) {  /* a non-nil value? */
      luai_work(L, (i - from) >> 3);
"#,
        times: 1,
    },
    Correction {
        file: "ltable.c",
        why: "Work is counted for the whole state, whatever coroutine does it: a table whose values have gone is still looked through",
        from: r#"  for (i -= t->sizearray; i < sizenode(t); i++) {  /* then hash part */
    if (!ttisnil(gval(gnode(t, i)))) {  /* a non-nil value? */
"#,
        to: r#"  from -= t->sizearray;
  for (i -= t->sizearray; i < sizenode(t); i++) {  /* then hash part */
    if (!ttisnil(gval(gnode(t, i)))) {  /* a non-nil value? */
      luai_work(L, (i - from) >> 3);
"#,
        times: 1,
    },
    Correction {
        file: "ltable.c",
        why: "Work is counted for the whole state, whatever coroutine does it: a table whose values have gone is still looked through",
        from: r#"  return 0;  /* no more elements */
"#,
        to: r#"  luai_work(L, (i - from) >> 3);
  return 0;  /* no more elements */
"#,
        times: 1,
    },
    Correction {
        file: "ldebug.c",
        why: "Work is counted for the whole state, whatever coroutine does it: the name of what failed is found by running through the function",
        from: r#"    i = symbexec(p, pc, stackpos);  /* try symbolic execution */
"#,
        to: r#"    luai_work(L, pc >> 1);
    i = symbexec(p, pc, stackpos);  /* try symbolic execution */
"#,
        times: 1,
    },
    Correction {
        file: "lvm.c",
        why: "Long strings are compared as bytes, and that is work",
        from: r#"static int l_strcmp (const TString *ls, const TString *rs) {
"#,
        to: r#"static int compare_strings (lua_State *L, const TString *ls, const TString *rs) {
  size_t ll = ls->tsv.len;
  size_t lr = rs->tsv.len;
  size_t least = ll < lr ? ll : lr;
  int order = memcmp(getstr(ls), getstr(rs), least);
  luai_work(L, least >> 7);
  if (order != 0) return order;
  return (ll > lr) - (ll < lr);
}


#if 0
static int l_strcmp (const TString *ls, const TString *rs) {
"#,
        times: 1,
    },
    Correction {
        file: "lvm.c",
        why: "Long strings are compared as bytes, and that is work",
        from: r#"int luaV_lessthan (lua_State *L, const TValue *l, const TValue *r) {
"#,
        to: r#"#endif
int luaV_lessthan (lua_State *L, const TValue *l, const TValue *r) {
"#,
        times: 1,
    },
    Correction {
        file: "lvm.c",
        why: "Long strings are compared as bytes, and that is work",
        from: r#"l_strcmp(rawtsvalue(l), rawtsvalue(r))"#,
        to: r#"compare_strings(L, rawtsvalue(l), rawtsvalue(r))"#,
        times: 2,
    },
    Correction {
        file: "lvm.c",
        why: "No numeral is that long, and reading one is work that no instruction tells",
        from: r#"  if (ttisstring(obj) && luaO_str2d(svalue(obj), &num)) {
"#,
        to: r#"  if (ttisstring(obj) && tsvalue(obj)->len <= 4096 &&
      luaO_str2d(svalue(obj), &num)) {
"#,
        times: 1,
    },
    Correction {
        file: "lstring.c",
        why: "Every byte of a string counts for its hash, so that what differs in a few places does not fall into one bucket; the order of a table's keys is Redis'",
        from: r#"  unsigned int h = cast(unsigned int, l);  /* seed */
  size_t step = (l>>5)+1;  /* if string is too long, don't hash all its chars */
  size_t l1;
  for (l1=l; l1>=step; l1-=step)  /* compute hash */
    h = h ^ ((h<<5)+(h>>2)+cast(unsigned char, str[l1-1]));
"#,
        to: r#"  unsigned int h = 0;
  luai_work(L, l >> 5);  /* one that is there already is not even allocated */
"#,
        times: 1,
    },
    Correction {
        file: "lparser.c",
        why: "CVE-2025-49844: the name of a chunk must not be collected while the chunk is compiled",
        from: r#"  lexstate.buff = buff;
  luaX_setinput(L, &lexstate, z, luaS_new(L, name));
"#,
        to: r#"  TString *source = luaS_new(L, name);
  lexstate.buff = buff;
  setsvalue2s(L, L->top, source);  /* anchor it */
  incr_top(L);
  luaX_setinput(L, &lexstate, z, source);
"#,
        times: 1,
    },
    Correction {
        file: "lparser.c",
        why: "CVE-2025-49844: the name of a chunk must not be collected while the chunk is compiled",
        from: r#"  lua_assert(lexstate.fs == NULL);
  return funcstate.f;
"#,
        to: r#"  lua_assert(lexstate.fs == NULL);
  L->top--;  /* the name */
  return funcstate.f;
"#,
        times: 1,
    },
    Correction {
        file: "llex.c",
        why: "CVE-2025-46819: the number of signs in a long bracket must not overflow",
        from: r#"  while (ls->current == '=') {
    save_and_next(ls);
    count++;
"#,
        to: r#"  while (ls->current == '=') {
    save_and_next(ls);
    if (count == MAX_INT - 2) luaX_lexerror(ls, "long bracket too long", TK_STRING);
    count++;
"#,
        times: 1,
    },
    Correction {
        file: "ldo.c",
        why: "CVE-2015-4335: bytecode is never loaded",
        from: r#"  tf = ((c == LUA_SIGNATURE[0]) ? luaU_undump : luaY_parser)(L, p->z,
                                                             &p->buff, p->name);
"#,
        to: r#"  if (c == LUA_SIGNATURE[0]) luaG_runerror(L, "bytecode is not accepted");
  tf = luaY_parser(L, p->z, &p->buff, p->name);
"#,
        times: 1,
    },
    Correction {
        file: "lbaselib.c",
        why: "CVE-2025-46817: the number of results must not overflow",
        from: r#"  n = e - i + 1;  /* number of elements */
  if (n <= 0 || !lua_checkstack(L, n))  /* n <= 0 means arith. overflow */
    return luaL_error(L, "too many results to unpack");
"#,
        to: r#"  if ((unsigned int)e - (unsigned int)i >= LUAI_MAXCSTACK ||
      !lua_checkstack(L, n = e - i + 1))
    return luaL_error(L, "too many results to unpack");
  luai_charge(L, n);
"#,
        times: 1,
    },
    Correction {
        file: "lbaselib.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"#include "lualib.h"
"#,
        to: r#"#include "lualib.h"
#include "lobject.h"
#include "lstate.h"
"#,
        times: 1,
    },
    Correction {
        file: "lstrlib.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"#include "lualib.h"
"#,
        to: r#"#include "lualib.h"
#include "lobject.h"
#include "lstate.h"
#include "lgc.h"
#include "lmem.h"
#include "lstring.h"
#include "lzio.h"
"#,
        times: 1,
    },
    Correction {
        file: "ltablib.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"#include "lualib.h"
"#,
        to: r#"#include "lualib.h"
#include "lobject.h"
#include "lstate.h"
"#,
        times: 1,
    },
    Correction {
        file: "lbaselib.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"    n = strtoul(s1, &s2, base);
"#,
        to: r#"    luai_charge(L, lua_objlen(L, 1) >> 3);
    n = strtoul(s1, &s2, base);
"#,
        times: 1,
    },
    Correction {
        file: "lstrlib.c",
        why: "Work is counted for the whole state, whatever coroutine does it, and the C stack is bounded where a pattern recurses",
        from: r#"  init: /* using goto's to optimize tail recursion */
  switch (*p) {
"#,
        to: r#"  if ((const char *)__builtin_frame_address(0) < G(ms->L)->floor)
    luaL_error(ms->L, "pattern too complex");
  init: /* using goto's to optimize tail recursion */
  luai_charge(ms->L, 1);
  switch (*p) {
"#,
        times: 1,
    },
    Correction {
        file: "lstrlib.c",
        why: "Work is counted for the whole state, whatever coroutine does it: a class is read for each character",
        from: r#"      const char *ep = classend(ms, p);  /* points to what is next */
      int m = s<ms->src_end"#,
        to: r#"      const char *ep = classend(ms, p);  /* points to what is next */
      luai_charge(ms->L, (ep - p) >> 2);
      int m = s<ms->src_end"#,
        times: 1,
    },
    Correction {
        file: "lstrlib.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"  while ((s+i)<ms->src_end && singlematch(uchar(*(s+i)), p, ep))
    i++;
"#,
        to: r#"  while ((s+i)<ms->src_end && singlematch(uchar(*(s+i)), p, ep)) {
    i++;
    luai_charge(ms->L, 1 + ((ep - p) >> 2));
  }
"#,
        times: 1,
    },
    Correction {
        file: "lstrlib.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"      s++;  /* try with one more repetition */
"#,
        to: r#"      { s++; luai_charge(ms->L, (ep - p) >> 2); }  /* try with one more repetition */
"#,
        times: 1,
    },
    Correction {
        file: "lstrlib.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"    while (++s < ms->src_end) {
"#,
        to: r#"    while (++s < ms->src_end) {
      luai_charge(ms->L, 1);
"#,
        times: 1,
    },
    Correction {
        file: "lstrlib.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"          ep = classend(ms, p);  /* points to what is next */
          previous"#,
        to: r#"          ep = classend(ms, p);  /* points to what is next */
          luai_charge(ms->L, (ep - p) >> 2);
          previous"#,
        times: 1,
    },
    Correction {
        file: "lstrlib.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"  len = ms->capture[l].len;
"#,
        to: r#"  len = ms->capture[l].len;
  luai_charge(ms->L, len >> 6);
"#,
        times: 1,
    },
    Correction {
        file: "lstrlib.c",
        why: "Work is counted for the whole state, whatever coroutine does it: a search for plain text takes time in proportion to both",
        from: r#"  else {
    const char *init;  /* to search for a `*s2' inside `s1' */
    l2--;  /* 1st char will be checked by `memchr' */
    l1 = l1-l2;  /* `s2' cannot be found after that */
    while (l1 > 0 && (init = (const char *)memchr(s1, *s2, l1)) != NULL) {
      init++;   /* 1st char is already checked */
      if (memcmp(init, s2+1, l2) == 0)
        return init-1;
      else {  /* correct `l1' and `s1' to try again */
        l1 -= init-s1;
        s1 = init;
      }
    }
    return NULL;  /* not found */
  }
"#,
        to: r#"  else return (const char *)memmem(s1, l1, s2, l2);
"#,
        times: 1,
    },
    Correction {
        file: "lstrlib.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"  if (init < 0) init = 0;
  else if ((size_t)(init) > l1)"#,
        to: r#"  luai_charge(L, (l1 >> 6) + (l2 >> 4));
  if (init < 0) init = 0;
  else if ((size_t)(init) > l1)"#,
        times: 1,
    },
    Correction {
        file: "lstrlib.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"  const char *news = lua_tolstring(ms->L, 3, &l);
"#,
        to: r#"  const char *news = lua_tolstring(ms->L, 3, &l);
  luai_charge(ms->L, l >> 3);
"#,
        times: 1,
    },
    Correction {
        file: "lstrlib.c",
        why: "A repeated text is made in one piece: pieces that are joined take three times its memory",
        from: r#"  luaL_Buffer b;
  const char *s = luaL_checklstring(L, 1, &l);
  int n = luaL_checkint(L, 2);
  luaL_buffinit(L, &b);
  while (n-- > 0)
    luaL_addlstring(&b, s, l);
  luaL_pushresult(&b);
  return 1;
"#,
        to: r#"  size_t total;
  char *all, *end;
  const char *s = luaL_checklstring(L, 1, &l);
  int n = luaL_checkint(L, 2);
  if (n <= 0 || l == 0) {
    lua_pushliteral(L, "");
    return 1;
  }
  total = l * (size_t)n;
  luai_charge(L, total >> 5);  /* before the buffer is in use: whoever is asked may give it back */
  luaC_checkGC(L);  /* as well: a collection makes the buffer smaller */
  all = luaZ_openspace(L, &G(L)->buff, total);
  for (end = all; end < all + total; end += l)
    memcpy(end, s, l);
  setsvalue2s(L, L->top, luaS_newlstr(L, all, total));
  L->top++;
  if (total > 65536) luaZ_freebuffer(L, &G(L)->buff);
  return 1;
"#,
        times: 1,
    },
    Correction {
        file: "ltablib.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"  while (lua_next(L, 1)) {
    lua_pop(L, 1);  /* remove value */
"#,
        to: r#"  while (lua_next(L, 1)) {
    luai_charge(L, 2);
    lua_pop(L, 1);  /* remove value */
"#,
        times: 1,
    },
    Correction {
        file: "ltablib.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"    lua_rawgeti(L, 1, i);  /* 2nd argument */
"#,
        to: r#"    lua_rawgeti(L, 1, i);  /* 2nd argument */
    luai_charge(L, 2);
"#,
        times: 1,
    },
    Correction {
        file: "ltablib.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"    lua_pushvalue(L, 2);  /* function */
    lua_pushvalue(L, -3);  /* key */
"#,
        to: r#"    luai_charge(L, 2);
    lua_pushvalue(L, 2);  /* function */
    lua_pushvalue(L, -3);  /* key */
"#,
        times: 1,
    },
    Correction {
        file: "ltablib.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"  for ( ;pos<e; pos++) {
"#,
        to: r#"  for ( ;pos<e; pos++) {
    luai_charge(L, 2);
"#,
        times: 1,
    },
    Correction {
        file: "ltablib.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"  lua_rawgeti(L, 1, i);
  if (!lua_isstring(L, -1))
"#,
        to: r#"  luai_charge(L, 2);
  lua_rawgeti(L, 1, i);
  if (!lua_isstring(L, -1))
"#,
        times: 1,
    },
    Correction {
        file: "ltablib.c",
        why: "Work is counted for the whole state, whatever coroutine does it",
        from: r#"static int sort_comp (lua_State *L, int a, int b) {
"#,
        to: r#"static int sort_comp (lua_State *L, int a, int b) {
  luai_charge(L, 4);
"#,
        times: 1,
    },
    Correction {
        file: "ltable.c",
        why: "CVE-2025-46817: the least integer as an index must not overflow",
        from: r#"  if (cast(unsigned int, key-1) < cast(unsigned int, t->sizearray))
    return &t->array[key-1];
"#,
        to: r#"  if (1 <= key && key <= t->sizearray)
    return &t->array[key-1];
"#,
        times: 1,
    },
    Correction {
        file: "lstring.c",
        why: SPREAD,
        from: r#"void luaS_resize (lua_State *L, int newsize) {
"#,
        to: r#"/* the hash of a string as a key */
static unsigned int key_hash (const char *str, size_t l) {
  unsigned int h = cast(unsigned int, l);  /* seed */
  size_t l1 = l;
  if (l1 > 1024) {  /* what is never a key: eight bytes at a time */
    unsigned long long sum = l, word;
    for (; l1 >= 8; l1 -= 8) {
      memcpy(&word, str + l1 - 8, 8);
      sum = (sum ^ word) * 0x9E3779B97F4A7C15ULL;
      sum ^= sum >> 29;
    }
    h ^= (unsigned int)(sum ^ (sum >> 32));
  }
  for (; l1>=1; l1--)
    h = h ^ ((h<<5)+(h>>2)+cast(unsigned char, str[l1-1]));
  return h;
}


/* where a string of 32 bytes or more belongs in the table of all strings, before its size is looked at: shorter ones lie by their hash
   as a key, which these have only made when they are new */
static unsigned int spread (lua_State *L, const char *str, size_t l) {
  unsigned long long sum, word;
  sum = (unsigned long long)(size_t)G(L) ^ l;
  for (; l >= 8; l -= 8, str += 8) {
    memcpy(&word, str, 8);
    sum = (sum ^ word) * 0x9E3779B97F4A7C15ULL;
    sum ^= sum >> 32;
  }
  for (; l >= 1; l--, str++)
    sum = (sum ^ cast(unsigned char, *str)) * 0x9E3779B97F4A7C15ULL;
  return (unsigned int)(sum ^ (sum >> 32));
}


void luaS_resize (lua_State *L, int newsize) {
"#,
        times: 1,
    },
    Correction {
        file: "lstring.c",
        why: SPREAD,
        from: r#"      unsigned int h = gco2ts(p)->hash;
"#,
        to: r#"      size_t l = gco2ts(p)->len;
      unsigned int h = (l < 32) ? gco2ts(p)->hash : spread(L, getstr(rawgco2ts(p)), l);
"#,
        times: 1,
    },
    Correction {
        file: "lstring.c",
        why: SPREAD,
        from: r#"                                       unsigned int h) {
  TString *ts;
"#,
        to: r#"                                       unsigned int h, unsigned int place) {
  TString *ts;
"#,
        times: 1,
    },
    Correction {
        file: "lstring.c",
        why: SPREAD,
        from: r#"  h = lmod(h, tb->size);
  ts->tsv.next = tb->hash[h];  /* chain new entry */
  tb->hash[h] = obj2gco(ts);
"#,
        to: r#"  place = lmod(place, tb->size);
  ts->tsv.next = tb->hash[place];  /* chain new entry */
  tb->hash[place] = obj2gco(ts);
"#,
        times: 1,
    },
    Correction {
        file: "lstring.c",
        why: SPREAD,
        from: r#"  for (o = G(L)->strt.hash[lmod(h, G(L)->strt.size)];
"#,
        to: r#"  place = (l < 32) ? (h = key_hash(str, l)) : spread(L, str, l);
  for (o = G(L)->strt.hash[lmod(place, G(L)->strt.size)];
"#,
        times: 1,
    },
    Correction {
        file: "lstring.c",
        why: SPREAD,
        from: r#"  return newlstr(L, str, l, h);  /* not found */
"#,
        to: r#"  if (l >= 32) h = key_hash(str, l);
  return newlstr(L, str, l, h, place);  /* not found */
"#,
        times: 1,
    },
    Correction {
        file: "lstring.c",
        why: SPREAD,
        from: r#"  unsigned int h = 0;
  luai_work("#,
        to: r#"  unsigned int h = 0, place;
  luai_work("#,
        times: 1,
    },
];
