/* What the server adds to Lua's interface: a budget of work for a whole state. See corrections.rs. */

#include <stddef.h>

#define LUA_CORE
#include "lua.h"
#include "lobject.h"
#include "lstate.h"
#include "ldo.h"
#include "lmem.h"
#include "lzio.h"

/* Sets who is asked when the budget is used up. It may raise an error, and has to set a new budget. */
LUA_API void tandem_set_tick (lua_State *L, lua_CFunction tick) {
  G(L)->tick = tick;
}

/* Where the budget of the whole state lies: units of work that are left until the next question. */
LUA_API ptrdiff_t *tandem_budget (lua_State *L) {
  return &G(L)->budget;
}

/* Sets how far the C stack may reach down. */
LUA_API void tandem_set_floor (lua_State *L, const char *floor) {
  G(L)->floor = floor;
}

/* Gives back the buffer in which texts are joined: it has the size of the longest, and collections only halve it. */
LUA_API void tandem_give_back (lua_State *L) {
  luaZ_freebuffer(L, &G(L)->buff);
}

/* Asks, between two instructions or inside a C function; the stack is as before afterwards. */
void luaD_tick (lua_State *L) {
  global_State *g = G(L);
  ptrdiff_t top, ci_top;
  if (g->tick == NULL) return;
  top = savestack(L, L->top);
  ci_top = savestack(L, L->ci->top);
  luaD_checkstack(L, LUA_MINSTACK);
  L->ci->top = L->top + LUA_MINSTACK;
  (*g->tick)(L);
  L->ci->top = restorestack(L, ci_top);
  L->top = restorestack(L, top);
}
